use super::*;
use crate::executions::Level;
use crate::flood::{FloodRow, Flooded};
use crate::usage::Memory;

fn report(rows: Vec<Row>) -> Report {
    let mut report = Report::new(Machine {
        date: "2026-11-22T00:00:00Z".to_owned(),
        processor: "a processor".to_owned(),
        cores: 2,
        memory_mib: 4096,
        kernel: "6.18".to_owned(),
        file_system: "ext4".to_owned(),
        load: "0.01".to_owned(),
        commit: "0123456789ab".to_owned(),
    });
    report.add_rows(rows);
    report
}

fn row(part: Part, subject: &str, to: What, p50_ms: f64) -> Row {
    Row::new(
        part,
        subject,
        to,
        Figures {
            rounds: 100,
            p10_ms: 0.9 * p50_ms,
            p50_ms,
            p90_ms: 1.5 * p50_ms,
            p99_ms: 2.0 * p50_ms,
            max_ms: 3.0 * p50_ms,
        },
    )
}

fn memory(rss_kib: u64, pss_kib: u64, private_dirty_kib: u64) -> Memory {
    Memory {
        rss_kib,
        pss_kib,
        private_dirty_kib,
    }
}

#[test]
fn tables_tell_goals_met_and_missed() {
    let mut report = report(vec![
        row(Part::Crash, "fork+exec+wait", What::Child, 0.9),
        row(Part::Crash, "rekindle", What::Child, 3.3),
        row(Part::Crash, "runit", What::Child, 2.2),
    ]);
    report.add_rows(vec![
        row(Part::Restart, "rekindle", What::Child, 2.5),
        row(Part::Restart, "rekindle", What::Answer, 3.5),
    ]);
    report.set_idle(Idle {
        alone: memory(3000, 1200, 300),
        many: 20,
        among_many: memory(3000, 400, 300),
        wake_ups_per_minute: 12.4,
        cpu_ms_per_minute: 3.0,
        window_seconds: 60.0,
        program_kib: 1500,
    });
    insta::assert_snapshot!(tables::of(&report, Format::Text), @r"
    Crash: SIGKILL of the child, to the next one's first instruction, milliseconds
                      to          rounds   p10   p50   p90   p99   max  beside      ratio
      fork+exec+wait  next child     100  0.81  0.90  1.35  1.80  2.70
      rekindle        next child     100  2.97  3.30  4.95  6.60  9.90  runit 2.20   1.50  missed
      runit           next child     100  1.98  2.20  3.30  4.40  6.60

    Restart by API, from the call, milliseconds
                to          rounds   p10   p50   p90   p99    max  beside  ratio
      rekindle  next child     100  2.25  2.50  3.75  5.00   7.50    3.00   0.83  met
      rekindle  answer         100  3.15  3.50  5.25  7.00  10.50    3.00   1.17  missed

    Idle shim, program of 1500 KiB
      alone            RSS 3000 KiB, PSS 1200 KiB, private dirty 300 KiB
      each of 20       RSS 3000 KiB, PSS 400 KiB, private dirty 300 KiB
      goal             RSS 3584 KiB, ratio 0.84: met
      each minute      12 wake-ups, 3.0 ms of CPU (over 60 s)
    ");
}

#[test]
fn without_the_rival_a_crash_has_no_goal() {
    let report = report(vec![row(Part::Crash, "rekindle", What::Child, 3.3)]);
    assert_eq!(report.rows[0].goal, None);
}

#[test]
fn documents_get_tables_of_what_stands_beside_a_floor() {
    let mut report = report(vec![
        row(Part::Exit, PARENT, What::Wait, 0.2),
        row(Part::Exit, "rekindle", What::Event, 1.0),
        row(Part::Exit, "rekindle", What::Child, 3.0),
    ]);
    report.set_flood(Flood {
        mib: 1024,
        floods: 3,
        rows: vec![
            FloodRow {
                subject: "cat > /dev/null".to_owned(),
                mib_per_second: 2000.0,
                beside: None,
                shim: None,
            },
            FloodRow {
                subject: "shim --log=inherit".to_owned(),
                mib_per_second: 500.0,
                beside: Some(Beside::judge("cat > /dev/null", 2000.0, 500.0)),
                shim: Some(Flooded {
                    before: memory(3000, 1200, 300),
                    highest: memory(3100, 1300, 400),
                    gap_before_ms: 201.0,
                    gap_ms: 410.0,
                    gap_goal: Goal::judge("fixed", 400.0, 410.0),
                }),
            },
        ],
    });
    report.set_stolen(1.0);
    insta::assert_snapshot!(tables::of(&report, Format::Markdown), @r"
    | Exit seen: SIGKILL of the child, to who is to know of it, milliseconds | to | rounds | p10 | p50 | p90 | p99 | max | beside | ratio |  |
    | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
    | bare parent | waitid | 100 | 0.18 | 0.20 | 0.30 | 0.40 | 0.60 |  |  |  |
    | rekindle | event | 100 | 0.90 | 1.00 | 1.50 | 2.00 | 3.00 | bare parent 0.20 | 5.00 |  |
    | rekindle | next child | 100 | 2.70 | 3.00 | 4.50 | 6.00 | 9.00 | bare parent 0.20 | 15.00 |  |

    | Flood of 1024 MiB, the median of 3; memory in KiB, before and at most; time from beat to beat, at most | MiB/s | beside | ratio | RSS | PSS | private dirty | ms before | ms in the flood | goal |  |
    | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
    | cat > /dev/null | 2000 |  |  |  |  |  |  |  |  |  |
    | shim --log=inherit | 500 | cat > /dev/null 2000.00 | 0.25 | 3000 to 3100 | 1200 to 1300 | 300 to 400 | 201 | 410 | 400.00 | missed |

    The host gave 1.0 % of the time that processors were wanted to others
    ");
}

#[test]
fn what_takes_microseconds_has_digits_and_what_was_not_counted_is_left_out() {
    let call = row(Part::Watchdog, "call", What::Decision, 0.012);
    let pass = row(Part::Watchdog, "pass", What::Decision, 3.0).beside(&call);
    let mut report = report(vec![call, pass]);
    let level = |clients, commits_per_execution| Level {
        clients,
        executions: 1200,
        per_second: 400.0,
        beside: Beside::judge("write+fdatasync", 800.0, 400.0),
        latency: Figures {
            rounds: 1200,
            p10_ms: 2.0,
            p50_ms: 2.5,
            p90_ms: 3.0,
            p99_ms: 4.0,
            max_ms: 5.0,
        },
        commits_per_execution,
        cpu_us_per_execution: 512.4,
    };
    report.set_executions(Executions {
        window_seconds: 3.0,
        levels: vec![level(1, Some(2.0)), level(16, None)],
    });
    insta::assert_snapshot!(tables::of(&report, Format::Text), @r"
    The watchdog, steps of the server's core by itself, milliseconds
            to        rounds     p10     p50     p90     p99     max  beside        ratio
      call  decision     100  0.0108  0.0120  0.0180  0.0240  0.0360
      pass  decision     100    2.70    3.00    4.50    6.00    9.00  call 0.0120  250.00

    Executions through one server, for 3 s each; milliseconds from the call to the durable end
                  each second  beside                  ratio  commits each  us of CPU each   p50   p99   max
      1 client            400  write+fdatasync 800.00   0.50          2.00             512  2.50  4.00  5.00
      16 clients          400  write+fdatasync 800.00   0.50                           512  2.50  4.00  5.00
    ");
}
