use super::*;
use proptest::prelude::*;

#[derive(Debug)]
struct Bird {
    name: &'static str,
    state: &'static str,
    eggs: u64,
    flies: Option<bool>,
}

impl Subject for Bird {
    const FIELDS: &'static [Field] = &[
        Field {
            name: "name",
            kind: Kind::Text,
        },
        Field {
            name: "state",
            kind: Kind::Word {
                prefix: "BIRD_",
                words: &["AWAKE", "ASLEEP"],
            },
        },
        Field {
            name: "nest.eggs",
            kind: Kind::Number,
        },
        Field {
            name: "flies",
            kind: Kind::Flag,
        },
        Field {
            name: "labels",
            kind: Kind::Map,
        },
    ];

    fn value(&self, field: &'static str, key: &str) -> Option<Value<'_>> {
        match (field, key) {
            ("name", _) => Some(Value::Text(self.name.into())),
            ("state", _) => Some(Value::Text(self.state.into())),
            ("nest.eggs", _) => Some(Value::Number(self.eggs)),
            ("flies", _) => self.flies.map(Value::Flag),
            ("labels", "team") => Some(Value::Text("search".into())),
            ("labels", "a.b") => Some(Value::Text(String::new().into())),
            _ => None,
        }
    }
}

const OWL: Bird = Bird {
    name: "birds/owl-1",
    state: "ASLEEP",
    eggs: 3,
    flies: Some(true),
};

fn matches(filter: &str) -> bool {
    match Filter::<Bird>::parse(filter) {
        Ok(filter) => filter.matches(&OWL),
        Err(error) => panic!("{filter}: {error}"),
    }
}

#[test]
fn what_matches() {
    for filter in [
        "",
        "  ",
        "name = birds/owl-1",
        "name=\"birds/owl-1\"",
        "name = 'birds/owl-1'",
        "name = birds/*",
        "name = \"*-1\"",
        "name : *owl*",
        "name != \"birds/crow\"",
        "name > birds/a AND name <= birds/owl-1",
        "state = ASLEEP",
        "state = BIRD_ASLEEP",
        "state = A*",
        "state != AWAKE",
        "nest.eggs >= 3 AND nest.eggs<4",
        "nest.eggs != 2",
        "flies = true",
        "flies != false",
        "flies:*",
        "labels.team = search",
        "labels.team:*",
        "labels:team",
        "labels.\"a.b\" = \"\"",
        "labels.team != \"x\"",
        "NOT labels.gone = x",
        "-labels.gone = x",
        "-(name = x OR name = y)",
        "NOT (state = AWAKE)",
        // OR binds tighter than AND: (x OR owl) AND ASLEEP.
        "name = x OR name = birds/owl-1 AND state = ASLEEP",
        "(name = x AND state = AWAKE) OR nest.eggs = 3",
    ] {
        assert!(matches(filter), "{filter}");
    }
    for filter in [
        "name = owl",
        "name = *owl",
        "state = AWAKE",
        "nest.eggs > 3",
        "flies = false",
        "labels.gone = x",
        "labels.gone != x",
        "labels.gone:*",
        "labels:gone",
        "name = birds/owl-1 OR name = x AND state = AWAKE",
    ] {
        assert!(!matches(filter), "{filter}");
    }
    assert!(
        !Filter::<Bird>::parse("flies:*")
            .expect("valid")
            .matches(&Bird { flies: None, ..OWL })
    );
    let star = Filter::<Bird>::parse(r#"name = "a\*""#).expect("valid");
    assert!(star.matches(&Bird { name: "a*", ..OWL }) && !star.matches(&Bird { name: "ab", ..OWL }));
}

#[test]
fn what_is_refused() {
    let errors: Vec<String> = [
        "owl",
        "\"owl\"",
        "name",
        "nam = x",
        "labels = x",
        "labels.team",
        "state = FLYING",
        "state > AWAKE",
        "flies = maybe",
        "nest.eggs = many",
        "nest.eggs = -1",
        "name = a*b",
        "name > a*",
        "name = ",
        "name = x AND",
        "name = x name = y",
        "(name = x",
        "name = x)",
        "name = \"x",
        "name & x",
        "AND",
        "NOT NOT name = x",
    ]
    .into_iter()
    .map(|filter| {
        let error = Filter::<Bird>::parse(filter).err().map(|error| error.to_string());
        format!("{filter}  ->  {}", error.expect("refused"))
    })
    .collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    owl  ->  "owl" alone says nothing; write FIELD = VALUE, or another comparison
    "owl"  ->  "owl" alone says nothing; write FIELD = VALUE, or another comparison
    name  ->  "name" alone says nothing; write FIELD = VALUE, or another comparison
    nam = x  ->  there is no field "nam"; there are name, state, nest.eggs, flies, labels.KEY
    labels = x  ->  labels has keys: write labels.KEY = VALUE, or labels:KEY for those that have the key
    labels.team  ->  "labels.team" alone says nothing; write FIELD = VALUE, or another comparison
    state = FLYING  ->  state: "FLYING" is not one of AWAKE, ASLEEP
    state > AWAKE  ->  state cannot be compared by >; use =, != or :
    flies = maybe  ->  flies: "maybe" is not true or false
    nest.eggs = many  ->  nest.eggs: "many" is not a whole number
    nest.eggs = -1  ->  nest.eggs: "-1" is not a whole number
    name = a*b  ->  "a*b": "*" stands at the start or the end of a string, and only with =, != and :
    name > a*  ->  "a*": "*" stands at the start or the end of a string, and only with =, != and :
    name =   ->  at character 8: expected a value, found the end
    name = x AND  ->  at character 13: expected a field, found the end
    name = x name = y  ->  at character 10: expected AND, OR or the end, found "name"
    (name = x  ->  at character 10: expected AND, OR or ")", found the end
    name = x)  ->  at character 9: expected AND, OR or the end, found ")"
    name = "x  ->  the string that starts at character 8 has no closing quote
    name & x  ->  at character 6: expected a field, a value or a comparison, found '&'
    AND  ->  at character 1: expected a field, found "AND"
    NOT NOT name = x  ->  at character 5: expected a field, found "NOT"
    "#);
}

#[test]
fn limits() {
    let deep = |depth: usize| format!("{}name = x{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::<Bird>::parse(&deep(DEPTH_MAX)).is_ok());
    assert_eq!(
        Filter::<Bird>::parse(&deep(DEPTH_MAX + 1)).err(),
        Some(FilterError::TooDeep)
    );
    let long = "x".repeat(FILTER_MAX_BYTES + 1);
    assert_eq!(
        Filter::<Bird>::parse(&long).err(),
        Some(FilterError::TooLong(long.len()))
    );
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,200}") {
        if let Ok(filter) = Filter::<Bird>::parse(&text) {
            filter.matches(&OWL);
        }
    }

    #[test]
    fn never_panics_on_what_looks_like_a_filter(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("name"), Just("state"), Just("labels."), Just("nest.eggs"), Just("\"a*\""), Just("\""), Just("\\"),
                Just("="), Just("!="), Just("<="), Just(":"), Just("("), Just(")"), Just("AND"), Just("OR"),
                Just("NOT"), Just("-"), Just(" "), Just("*"), Just("7"), Just("ASLEEP"), Just("."), Just("ä"),
            ],
            0..40,
        )
    ) {
        if let Ok(filter) = Filter::<Bird>::parse(&parts.concat()) {
            filter.matches(&OWL);
        }
    }

    #[test]
    fn quoting_gives_any_text_back(text in "[^*\\\\]{0,30}") {
        let quoted = format!("name = \"{}\"", text.replace('"', "\\\""));
        let filter = Filter::<Bird>::parse(&quoted).expect("valid");
        let name: &'static str = Box::leak(text.into_boxed_str());
        let named = Bird { name, ..OWL };
        prop_assert!(filter.matches(&named));
    }
}
