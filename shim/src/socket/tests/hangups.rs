//! Callers that do not wait for their answer.

use super::*;

/// HTTP/2's own initial window (RFC 9113, section 6.9.2).
const WINDOW: u32 = 65_535;

#[tokio::test]
async fn who_hangs_up_while_waiting_takes_nothing() {
    let mut bench = Bench::new();
    let client = bench.client().await;
    let asking = ask(&client, None);
    let request = bench.asked().await;
    asking.abort();
    assert_eq!(bench.heard().await, Input::AskWithdrawn { request });

    // A process that dies takes its connection with it.
    let asking = ask(&client, None);
    let request = bench.asked().await;
    asking.abort();
    drop(client);
    assert_eq!(bench.heard().await, Input::AskWithdrawn { request });
}

#[tokio::test]
async fn who_hangs_up_in_the_middle_of_its_answer_takes_nothing() {
    let mut bench = Bench::new();
    let narrow = endpoint(bench.socket.path()).initial_stream_window_size(WINDOW);
    let client = client(narrow.connect().await.expect("connected"));
    let long = "m".repeat(OUTPUT_MAX_BYTES);
    let asking = ask(&client, None);
    let request = bench.asked().await;
    bench.give(request, &long);
    // The answer is longer than the window, which nobody widens any more.
    asking.abort();
    assert_eq!(bench.heard().await, Input::GiveFailed { attempt: attempt() });

    let asking = ask(&client, None);
    let request = bench.asked().await;
    bench.give(request, &long);
    let assignment = answered(asking).await.expect("no error").expect("given");
    assert_eq!(assignment.message.len(), OUTPUT_MAX_BYTES);
    // Nothing comes back of what was read to its end.
    let _asking = ask(&client, None);
    bench.asked().await;
}

#[tokio::test(start_paused = true)]
async fn who_waited_long_enough_hears_that_nothing_came() {
    let mut bench = Bench::new();
    let client = bench.client().await;
    for wait in [Duration::ZERO, LIMIT / 2] {
        let asking = ask(&client, Some(wait));
        let request = bench.asked().await;
        assert_eq!(answered(asking).await.expect("no error"), None);
        assert_eq!(bench.heard().await, Input::AskWithdrawn { request });
    }
}

#[tokio::test]
async fn a_socket_that_was_drained_is_opened_again_drained_again_or_closed() {
    let mut bench = Bench::new();
    let client = bench.client().await;
    let asking = ask(&client, None);
    bench.asked().await;
    bench.socket.drain(LIMIT).await;
    assert_eq!(reason(&answered(asking).await.expect_err("turned away")), "SHIM_ENDING");
    // Nobody serves, as where it could not be opened again.
    bench.socket.drain(LIMIT).await;
    bench.socket.reopen().expect("opened");
    let client = bench.client().await;
    let _asking = ask(&client, None);
    bench.asked().await;
    bench.socket.drain(LIMIT).await;
    bench.socket.close().await;
}

#[tokio::test]
async fn a_word_stays_said() {
    let mut bench = Bench::new();
    let mut client = bench.client().await;
    let done = tokio::spawn(async move { client.complete(wire::CompleteRequest::default()).await });
    let (request, _, _) = bench.said().await;
    done.abort();
    bench.socket.requests.answer(request, Ok(()));
    let client = bench.client().await;
    let _asking = ask(&client, None);
    bench.asked().await;
}
