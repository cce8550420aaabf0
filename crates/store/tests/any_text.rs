//! No text makes the store panic, and none costs more than its size allows.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use store::{Batch, FileChange, Settings, Store, yaml};

const SEED: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a.b]\n  http:\n  - match: [{uri: {prefix: /}}]\n    route: [{destination: {host: a.b}, weight: 100}]\n    timeout: 5s\n";

fn apply(text: &str) -> Store {
    let mut store = Store::new(Settings::default());
    let change = FileChange::Content {
        source: 0,
        file: PathBuf::from("a.yaml"),
        text: text.to_owned(),
    };
    store.apply(Batch {
        files: vec![change],
        sources: vec![],
    });
    let _ = store.messages();
    store
}

proptest! {
    #[test]
    fn arbitrary_text(text in "\\PC{0,200}") {
        let _ = yaml::parse(Path::new("a.yaml"), &text);
        apply(&text);
    }

    #[test]
    fn yaml_like_text(text in "([a-z]{1,3}: |- |\\[|\\]|\\{|\\}|, |\n|  |&a |\\*a|'|\"|#|---\n|\\||>|!!str |<<: ){0,60}") {
        apply(&text);
    }

    #[test]
    fn a_damaged_object(at in 0..SEED.len(), cut in 0..6usize, insert in "\\PC{0,4}") {
        let end = (at + cut).min(SEED.len());
        apply(&format!("{}{insert}{}", &SEED[..at], &SEED[end..]));
    }

    /// Whatever value stands at whatever place: it is taken, or named with a line of the file.
    #[test]
    fn a_wrong_value(place in prop::sample::select(vec!["hosts: [a.b]", "[{uri: {prefix: /}}]", "5s", "100", "{host: a.b}", "/"]),
                     value in prop::sample::select(vec!["null", "1", "-1", "1.5", "true", "x", "[]", "{}", "[x]", "{x: y}", "'1'", "~"])) {
        let store = apply(&SEED.replacen(place, value, 1));
        for message in store.messages() {
            prop_assert!(message.line <= 9, "{message}");
        }
    }

    /// Comments, blank lines and the order of documents are not content.
    #[test]
    fn place_is_not_content(order in Just(vec![0usize, 1, 2]).prop_shuffle(), blanks in prop::collection::vec(0..3usize, 3)) {
        let document = |n: usize| SEED.replace("name: a", &format!("name: a{n}"));
        let text = |order: &[usize], blanks: &[usize]| {
            order.iter().zip(blanks).map(|(n, blank)| format!("{}# {n}\n{}", "\n".repeat(*blank), document(*n))).collect::<Vec<_>>().join("---\n")
        };
        let mut store = apply(&text(&[0, 1, 2], &[0, 0, 0]));
        let before: Vec<_> = store.list("VirtualService").iter().map(|o| (o.reference(), o.value.clone(), o.generation)).collect();
        let change = FileChange::Content { source: 0, file: PathBuf::from("a.yaml"), text: text(&order, &blanks) };
        let applied = store.apply(Batch { files: vec![change], sources: vec![] });
        prop_assert!(applied.changes.is_empty());
        let after: Vec<_> = store.list("VirtualService").iter().map(|o| (o.reference(), o.value.clone(), o.generation)).collect();
        prop_assert_eq!(before, after);
    }
}
