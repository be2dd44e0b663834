//! Who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, PackageId};

use super::Findings;

/// Crates that fit the engine to one store, broker or metrics system.
const ADAPTERS: [&str; 4] = ["omni-box-kafka", "omni-box-postgres", "omni-box-prometheus", "omni-box-sqlite"];
/// What an adapter may not know, besides the other adapters.
const ABOVE_ADAPTERS: [&str; 4] = ["omni-box", "omni-box-pipeline", OTEL, SETTINGS];

const CORE: &str = "omni-box-core";
/// What is made for those who write stores and brokers.
const CONFORMANCE: &str = "omni-box-conformance";
/// What expands to calls of the facade.
const MACROS: &str = "omni-box-macros";
/// What is made for the tests of applications.
const TESTKIT: &str = "omni-box-testkit";
/// What fits traces to OpenTelemetry: a layer of the pipeline.
const OTEL: &str = "omni-box-otel";
/// What turns a file and the environment into settings of adapters and pipeline.
const SETTINGS: &str = "omni-box-settings";
/// What stores on SQL databases share.
const SQL: &str = "omni-box-sql";

/// Which crates of the workspace these ship with: the adapters, and what is made for those who write others.
const SHIPS_WITH: [(&str, &[&str]); 10] = [
    (CONFORMANCE, &[CORE]),
    ("omni-box-kafka", &[CORE]),
    (MACROS, &[]),
    (OTEL, &[CORE, "omni-box-pipeline"]),
    ("omni-box-postgres", &[CORE, SQL]),
    ("omni-box-prometheus", &[CORE]),
    (SETTINGS, &[CORE, "omni-box-kafka", "omni-box-pipeline", "omni-box-postgres", "omni-box-sqlite"]),
    (SQL, &[CORE]),
    ("omni-box-sqlite", &[CORE, SQL]),
    (TESTKIT, &[CORE]),
];

/// Features of sqlx that bring a driver, and crates that are one; with everything that starts with the name and a dash.
const DRIVERS: [&str; 7] =
    ["all-databases", "mysql", "postgres", "sqlite", "sqlx-mysql", "sqlx-postgres", "sqlx-sqlite"];

/// What must never come with the core; with everything that starts with the name and a dash.
const FOREIGN_TO_CORE: [&str; 4] = ["sqlx", "rdkafka", "prometheus", "opentelemetry"];

/// Libraries whose types a published crate may show, and the crates that may. What is not a dependency cannot be in a signature.
const SHOWN_BY: [(&str, &[&str]); 4] = [
    ("sqlx", &["omni-box-postgres", SETTINGS, SQL, "omni-box-sqlite"]),
    ("rdkafka", &["omni-box-kafka"]),
    ("prometheus", &["omni-box-prometheus"]),
    ("opentelemetry", &[OTEL]),
];

/// Checks the own dependencies of the adapters and of what is made for them, and all that the core brings along.
pub(super) fn check(metadata: &Metadata, findings: &mut Findings) {
    for package in metadata.workspace_packages() {
        let Some((name, with)) = SHIPS_WITH.iter().find(|(name, _)| package.name == *name) else { continue };
        let forbidden: BTreeSet<&str> = package
            .dependencies
            .iter()
            .filter(|d| d.name.starts_with("omni-box") && d.name != *name)
            .filter(|d| match d.kind {
                // the test kit's own tests are free, and those of macros use what they expand to
                DependencyKind::Development => {
                    ![TESTKIT, MACROS].contains(name) && is_beside_or_above(&d.name)
                }
                _ => !with.contains(&d.name.as_str()),
            })
            .map(|d| d.name.as_str())
            .collect();
        for other in forbidden {
            findings.errors.push(format!("{name} must not depend on {other}"));
        }
    }
    check_shown(metadata, findings);
    check_sql(metadata, findings);
    check_core(metadata, findings);
}

fn is_beside_or_above(name: &str) -> bool {
    ADAPTERS.iter().chain(&ABOVE_ADAPTERS).any(|other| *other == name)
}

/// The types of a store's or broker's library are shown by its own adapter only.
fn check_shown(metadata: &Metadata, findings: &mut Findings) {
    let published = |package: &&cargo_metadata::Package| package.publish.as_deref() != Some(&[]);
    // what the core brings is checked whole, below
    let checked =
        metadata.workspace_packages().into_iter().filter(published).filter(|package| package.name != CORE);
    for package in checked {
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let shown = SHOWN_BY.iter().find(|(library, _)| is_family(&dependency.name, library));
            if let Some((library, by)) = shown.filter(|(_, by)| !by.contains(&package.name.as_str())) {
                let (name, by) = (&package.name, by.join(" and "));
                findings.errors.push(format!(
                    "{name} must not depend on {}: {library} is shown by {by}",
                    dependency.name
                ));
            }
        }
    }
}

/// What all SQL stores share must not bring the driver of one to another.
fn check_sql(metadata: &Metadata, findings: &mut Findings) {
    for package in metadata.workspace_packages().into_iter().filter(|package| package.name == SQL) {
        for dependency in &package.dependencies {
            let features = dependency.features.iter().filter(|_| is_family(&dependency.name, "sqlx"));
            let brought = std::iter::once(&dependency.name).chain(features);
            for driver in brought.filter(|name| DRIVERS.iter().any(|driver| is_family(name, driver))) {
                findings.errors.push(format!("{SQL} must not bring a driver: {driver}"));
            }
        }
    }
}

fn check_core(metadata: &Metadata, findings: &mut Findings) {
    let Some(core) = metadata.workspace_packages().into_iter().find(|package| package.name == CORE) else {
        findings.errors.push(format!("the workspace has no {CORE}"));
        return;
    };
    let Some(resolve) = &metadata.resolve else {
        findings.errors.push("cargo metadata gives no resolved graph".to_owned());
        return;
    };
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut paths = BTreeMap::from([(&core.id, CORE.to_owned())]);
    let mut open = vec![&core.id];
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id) else { continue };
        for dependency in &node.deps {
            let shipped = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if !shipped || paths.contains_key(&dependency.pkg) {
                continue;
            }
            let name = metadata[&dependency.pkg].name.as_str();
            let path = format!("{} -> {name}", paths[id]);
            if FOREIGN_TO_CORE.iter().any(|foreign| is_family(name, foreign)) {
                findings.errors.push(format!("the core must not pull in {name}: {path}"));
            }
            paths.insert(&dependency.pkg, path);
            open.push(&dependency.pkg);
        }
    }
}

fn is_family(name: &str, foreign: &str) -> bool {
    name.strip_prefix(foreign).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace of all packages named on a left side; `dependencies` are (from, to, kind), or (from, to/feature, kind).
    fn errors(dependencies: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let id = |name: &str| format!("path+file:///w/{name}#0.1.0");
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(from, to, kind)| {
                let (to, feature) =
                    to.split_once('/').map_or((*to, None), |(to, feature)| (to, Some(feature)));
                (*from, to, Vec::from_iter(feature), *kind)
            })
            .collect();
        let mut names: BTreeSet<&str> = dependencies.iter().flat_map(|(from, to, ..)| [*from, *to]).collect();
        names.insert(CORE);
        let of = |name: &str| dependencies.iter().filter(move |(from, ..)| *from == name).collect::<Vec<_>>();
        let package = |name: &&str| {
            let direct: Vec<Value> = of(name).into_iter().map(|(_, to, features, kind)| json!({
                "name": to, "source": null, "req": "*", "kind": kind, "rename": null, "optional": false,
                "uses_default_features": true, "features": features, "target": null, "registry": null,
            })).collect();
            json!({
                "name": name, "version": "0.1.0", "id": id(name), "license": null, "license_file": null,
                "description": null, "source": null, "dependencies": direct, "targets": [], "features": {},
                "manifest_path": format!("/w/{name}/Cargo.toml"), "metadata": null, "publish": null,
                "authors": [], "categories": [], "keywords": [], "readme": null, "repository": null,
                "homepage": null, "documentation": null, "edition": "2024", "links": null,
                "default_run": null, "rust_version": null,
            })
        };
        let node = |name: &&str| {
            let deps: Vec<Value> = of(name).into_iter().map(|(_, to, _, kind)| json!({
                "name": to.replace('-', "_"), "pkg": id(to), "dep_kinds": [{ "kind": kind, "target": null }],
            })).collect();
            let ids: Vec<String> = of(name).into_iter().map(|(_, to, ..)| id(to)).collect();
            json!({ "id": id(name), "dependencies": ids, "deps": deps, "features": [] })
        };
        let members: Vec<String> =
            names.iter().filter(|name| name.starts_with("omni-box")).map(|name| id(name)).collect();
        let metadata: Metadata = serde_json::from_value(json!({
            "packages": names.iter().map(package).collect::<Vec<_>>(),
            "workspace_members": members, "workspace_default_members": members,
            "resolve": { "nodes": names.iter().map(node).collect::<Vec<_>>(), "root": null },
            "target_directory": "/w/target", "version": 1, "workspace_root": "/w", "metadata": null,
        }))
        .expect("this is what cargo prints");
        let mut findings = Findings::default();
        check(&metadata, &mut findings);
        findings.errors
    }

    #[test]
    fn a_workspace_as_it_should_be_has_no_findings() {
        let good = [
            ("omni-box-kafka", "omni-box-core", None),
            ("omni-box-kafka", "rdkafka", None),
            ("omni-box-kafka", "omni-box-harness", Some("dev")),
            ("omni-box", "omni-box-kafka", None),
            ("omni-box-postgres", "omni-box-sql", None),
            ("omni-box-postgres", "sqlx/postgres", None),
            ("omni-box-sql", "omni-box-core", None),
            ("omni-box-sql", "sqlx/json", None),
            ("omni-box-core", "serde", None),
            ("omni-box-core", "sqlx", Some("dev")),
        ];
        assert_eq!(errors(&good), [""; 0]);
    }

    #[test]
    fn adapters_know_neither_each_other_nor_what_is_above_them() {
        let one = |to, kind| errors(&[("omni-box-postgres", to, kind)]).join("\n");
        let text = "omni-box-postgres must not depend on omni-box";
        assert_eq!(one("omni-box-kafka", None), format!("{text}-kafka"));
        assert_eq!(one("omni-box-kafka", Some("dev")), format!("{text}-kafka"));
        assert_eq!(one("omni-box-pipeline", Some("build")), format!("{text}-pipeline"));
        assert_eq!(one("omni-box", None), text);
    }

    #[test]
    fn adapters_ship_with_the_core_and_those_on_sql_with_what_they_share() {
        assert_eq!(
            errors(&[("omni-box-kafka", SQL, None), ("omni-box-sqlite", TESTKIT, None)]),
            [
                "omni-box-kafka must not depend on omni-box-sql",
                "omni-box-sqlite must not depend on omni-box-testkit"
            ]
        );
        assert_eq!(
            errors(&[(SQL, "omni-box-sqlite", Some("dev")), (SQL, TESTKIT, None)]),
            [
                "omni-box-sql must not depend on omni-box-sqlite",
                "omni-box-sql must not depend on omni-box-testkit"
            ]
        );
    }

    #[test]
    fn a_library_is_shown_by_its_own_adapter_only() {
        assert_eq!(
            errors(&[("omni-box-pipeline", "sqlx-core", None)]),
            [
                "omni-box-pipeline must not depend on sqlx-core: sqlx is shown by omni-box-postgres and omni-box-settings and omni-box-sql and omni-box-sqlite"
            ]
        );
        assert_eq!(
            errors(&[("omni-box", "rdkafka", None), ("omni-box", "sqlx", Some("dev"))]),
            ["omni-box must not depend on rdkafka: rdkafka is shown by omni-box-kafka"]
        );
    }

    #[test]
    fn what_sql_stores_share_brings_no_driver() {
        for (dependency, driver) in [
            ("sqlx/postgres", "postgres"),
            ("sqlx/sqlite-bundled", "sqlite-bundled"),
            ("sqlx-mysql", "sqlx-mysql"),
        ] {
            let text = format!("omni-box-sql must not bring a driver: {driver}");
            assert_eq!(errors(&[(SQL, dependency, None)]), [text]);
        }
    }

    #[test]
    fn the_test_kit_and_the_suites_ship_with_the_core_alone() {
        assert_eq!(errors(&[(TESTKIT, CORE, None), (TESTKIT, "omni-box-pipeline", Some("dev"))]), [""; 0]);
        assert_eq!(
            errors(&[(TESTKIT, "omni-box-pipeline", None)]),
            ["omni-box-testkit must not depend on omni-box-pipeline"]
        );
        assert_eq!(errors(&[(CONFORMANCE, CORE, None), (CONFORMANCE, TESTKIT, Some("dev"))]), [""; 0]);
        assert_eq!(
            errors(&[(CONFORMANCE, TESTKIT, None)]),
            ["omni-box-conformance must not depend on omni-box-testkit"]
        );
    }

    #[test]
    fn the_core_pulls_in_no_store_broker_or_metrics_library() {
        assert_eq!(
            errors(&[("omni-box-core", "innocent", None), ("innocent", "sqlx-core", None)]),
            ["the core must not pull in sqlx-core: omni-box-core -> innocent -> sqlx-core"]
        );
        for foreign in ["rdkafka", "prometheus", "opentelemetry"] {
            assert_eq!(errors(&[("omni-box-core", foreign, None)]).len(), 1, "{foreign}");
        }
        assert_eq!(errors(&[("omni-box-core", "sqlxtra", None)]), [""; 0]);
    }
}
