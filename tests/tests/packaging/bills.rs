//! What the bill of materials beside an image names: the crates of its program, and none that only tests use.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;
use system_tests::images;

/// What the tests of the programs' own crates use, and nothing else does.
const OF_TESTS: [&str; 3] = ["criterion", "proptest", "stateright"];

#[test]
fn a_bill_names_each_crate_of_its_program_and_none_that_only_tests_use() {
    for program in images::PROGRAMS {
        let bill = images::bill(program).unwrap();
        let named = crates(&bill, |_| true);
        assert_eq!(named, tree(program, "normal"), "{program}");
        assert_eq!(bill["metadata"]["component"]["name"], program);
        let model = tree("backout-model", "normal,dev");
        let uses =
            |crates: &BTreeSet<String>, name| crates.iter().any(|it| it.split('@').next() == Some(name));
        for name in OF_TESTS {
            assert!(uses(&model, name), "{name} is used no more");
            assert!(!uses(&named, name), "{program}: {name}");
        }
    }
}

#[test]
fn a_bill_tells_what_is_in_the_program_from_what_made_it() {
    for program in images::PROGRAMS {
        let bill = images::bill(program).unwrap();
        let linked = crates(&bill, |component| component["scope"] == "required");
        assert_eq!(linked, tree(program, "normal,no-proc-macro"), "{program}");
        let macros = crates(&bill, |component| component["scope"] == "excluded");
        assert!(macros.iter().any(|it| it.starts_with("serde_derive@")), "{program}: {macros:?}");
    }
}

#[test]
fn a_crate_in_a_bill_has_its_license_its_package_and_what_it_depends_on() {
    for program in images::PROGRAMS {
        let bill = images::bill(program).unwrap();
        let references: BTreeSet<_> = crates(&bill, |_| true);
        for component in bill["components"].as_array().unwrap() {
            let (reference, name) = (text(component, "bom-ref"), text(component, "name"));
            assert!(!text(&component["licenses"][0], "expression").contains('/'), "{component}");
            let package = format!("pkg:cargo/{reference}");
            let is_own = name.starts_with("backout-");
            assert_eq!(component["purl"].as_str(), (!is_own).then_some(package.as_str()), "{component}");
        }
        let dependencies = bill["dependencies"].as_array().unwrap();
        let depends_on = |name: &str| {
            let mut found = dependencies.iter().filter(|it| text(it, "ref").starts_with(&format!("{name}@")));
            found.next().unwrap()["dependsOn"].as_array().unwrap()
        };
        assert!(depends_on(program).iter().any(|it| it.as_str().unwrap().starts_with("backout-model@")));
        assert!(depends_on("rustls").iter().any(|it| it.as_str().unwrap().starts_with("ring@")));
        let all = dependencies.iter().flat_map(|it| it["dependsOn"].as_array().unwrap());
        assert!(
            all.map(|it| it.as_str().unwrap().to_owned()).all(|it| references.contains(&it)),
            "{program}"
        );
    }
}

/// The components that are so, as `name@version`.
fn crates(bill: &Value, are: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let components = bill["components"].as_array().unwrap().iter().filter(|component| are(component));
    components.map(|it| format!("{}@{}", text(it, "name"), text(it, "version"))).collect()
}

/// The crates that a program depends on in these ways, as Cargo tells a person.
fn tree(program: &str, edges: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "-p", program, "-e", edges, "--target", &images::triple()]);
    let output = cargo.args(["--prefix", "none"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let named = printed.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split(' ');
        format!("{}@{}", words.next().unwrap(), words.next().unwrap().trim_start_matches('v'))
    });
    named.filter(|it| !it.starts_with(&format!("{program}@"))).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is missing: {value}"))
}
