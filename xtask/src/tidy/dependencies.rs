//! Who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, PackageId};

use super::Findings;

/// Crates that fit the engine to one store, broker or metrics system.
const ADAPTERS: [&str; 4] = ["omni-box-kafka", "omni-box-postgres", "omni-box-prometheus", "omni-box-sqlite"];
/// What an adapter may not know, besides the other adapters.
const ABOVE_ADAPTERS: [&str; 2] = ["omni-box", "omni-box-pipeline"];

/// What is made for those who write stores and brokers: it ships with the core alone.
const TESTKIT: &str = "omni-box-testkit";

const CORE: &str = "omni-box-core";
/// What must never come with the core; with everything that starts with the name and a dash.
const FOREIGN_TO_CORE: [&str; 4] = ["sqlx", "rdkafka", "prometheus", "opentelemetry"];

/// Checks the adapters' own dependencies of every kind, and all that the core brings along.
pub(super) fn check(metadata: &Metadata, findings: &mut Findings) {
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if !ADAPTERS.contains(&name) {
            continue;
        }
        let allowed =
            |other: &str| other == name || !ADAPTERS.iter().chain(&ABOVE_ADAPTERS).any(|c| *c == other);
        let others: BTreeSet<&str> = package.dependencies.iter().map(|d| d.name.as_str()).collect();
        for other in others.into_iter().filter(|other| !allowed(other)) {
            findings.errors.push(format!("{name} is an adapter and must not depend on {other}"));
        }
    }
    for package in metadata.workspace_packages().iter().filter(|package| package.name == TESTKIT) {
        let shipped = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
        for other in shipped.filter(|d| d.name.starts_with("omni-box") && d.name != CORE) {
            findings.errors.push(format!("{TESTKIT} must not depend on {}", other.name));
        }
    }
    check_core(metadata, findings);
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

    /// A workspace of all packages named on a left side; `dependencies` are (from, to, kind).
    fn errors(dependencies: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let id = |name: &str| format!("path+file:///w/{name}#0.1.0");
        let mut names: BTreeSet<&str> = dependencies.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        names.insert(CORE);
        let of = |name: &str| dependencies.iter().filter(move |(from, ..)| *from == name).collect::<Vec<_>>();
        let package = |name: &&str| {
            let direct: Vec<Value> = of(name).into_iter().map(|(_, to, kind)| json!({
                "name": to, "source": null, "req": "*", "kind": kind, "rename": null, "optional": false,
                "uses_default_features": true, "features": [], "target": null, "registry": null,
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
            let deps: Vec<Value> = of(name).into_iter().map(|(_, to, kind)| json!({
                "name": to.replace('-', "_"), "pkg": id(to), "dep_kinds": [{ "kind": kind, "target": null }],
            })).collect();
            let ids: Vec<String> = of(name).into_iter().map(|(_, to, _)| id(to)).collect();
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
            ("omni-box-core", "serde", None),
            ("omni-box-core", "sqlx", Some("dev")),
        ];
        assert_eq!(errors(&good), [""; 0]);
    }

    #[test]
    fn adapters_know_neither_each_other_nor_what_is_above_them() {
        let one = |to, kind| errors(&[("omni-box-postgres", to, kind)]).join("\n");
        let text = "omni-box-postgres is an adapter and must not depend on omni-box";
        assert_eq!(one("omni-box-kafka", None), format!("{text}-kafka"));
        assert_eq!(one("omni-box-kafka", Some("dev")), format!("{text}-kafka"));
        assert_eq!(one("omni-box-pipeline", Some("build")), format!("{text}-pipeline"));
        assert_eq!(one("omni-box", None), text);
    }

    #[test]
    fn the_test_kit_ships_with_the_core_alone() {
        assert_eq!(errors(&[(TESTKIT, CORE, None), (TESTKIT, "omni-box-pipeline", Some("dev"))]), [""; 0]);
        assert_eq!(
            errors(&[(TESTKIT, "omni-box-pipeline", None)]),
            ["omni-box-testkit must not depend on omni-box-pipeline"]
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
