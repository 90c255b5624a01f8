//! The workspace as cargo sees it: members, what they name, and what comes with it.

use std::collections::{BTreeMap, VecDeque};

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::source;

/// The members, and every edge of the resolved graph that ends up in a build.
pub(crate) struct Graph {
    members: Vec<Package>,
    /// By package name with version: the names with versions of its normal and build dependencies.
    edges: BTreeMap<String, Vec<String>>,
}

/// A member of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its folder, from the root.
    pub(crate) folder: String,
    /// Its manifest, from the root.
    pub(crate) manifest: String,
    /// The manifest as it is written.
    pub(crate) toml: toml::Table,
    /// What it names itself.
    pub(crate) dependencies: Vec<Dependency>,
}

/// Something that a member names.
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) edge: Edge,
}

/// Whether a dependency ends up in a build or in tests alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Build,
    Dev,
}

impl Graph {
    /// Asks cargo.
    pub(crate) fn load() -> Self {
        // For one platform, since packages of others may not be at hand.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let options = [
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            platform,
        ];
        let metadata = MetadataCommand::new()
            .manifest_path(source::root().join("Cargo.toml"))
            .other_options(options)
            .exec()
            .unwrap_or_else(|error| panic!("cargo metadata: {error}"));
        let members = metadata
            .workspace_packages()
            .into_iter()
            .map(Package::new)
            .collect();

        let name = |id| format!("{} {}", metadata[id].name, metadata[id].version);
        let resolve = metadata
            .resolve
            .as_ref()
            .expect("cargo metadata resolves the graph");
        let edges = resolve.nodes.iter().map(|node| {
            let built = node.deps.iter().filter(|dep| {
                dep.dep_kinds
                    .iter()
                    .any(|kind| kind.kind != DependencyKind::Development)
            });
            (name(&node.id), built.map(|dep| name(&dep.pkg)).collect())
        });
        Self {
            members,
            edges: edges.collect(),
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.members.iter()
    }

    pub(crate) fn is_member(&self, name: &str) -> bool {
        self.members.iter().any(|package| package.name == name)
    }

    /// The shortest road from a member to each of `banned` that it reaches; none when there is no such member.
    pub(crate) fn roads(&self, from: &str, banned: &[&str]) -> Vec<Vec<String>> {
        let is = |package: &str, name: &str| package.split(' ').next() == Some(name);
        let starts = self
            .edges
            .keys()
            .filter(|package| self.is_member(from) && is(package, from));
        let mut roads = Vec::new();
        let mut seen: BTreeMap<&str, Option<&str>> =
            starts.map(|start| (start.as_str(), None)).collect();
        let mut queue: VecDeque<&str> = seen.keys().copied().collect();
        while let Some(package) = queue.pop_front() {
            if banned.iter().any(|name| is(package, name)) {
                let mut road: Vec<String> =
                    std::iter::successors(Some(package), |&step| seen[step])
                        .map(str::to_owned)
                        .collect();
                road.reverse();
                roads.push(road);
            }
            for next in self.edges.get(package).into_iter().flatten() {
                if !seen.contains_key(next.as_str()) {
                    seen.insert(next, Some(package));
                    queue.push_back(next);
                }
            }
        }
        roads
    }
}

impl Package {
    fn new(package: &cargo_metadata::Package) -> Self {
        let manifest = source::relative(package.manifest_path.as_std_path());
        let toml = source::read(&manifest)
            .parse()
            .unwrap_or_else(|error| panic!("{manifest}: {error}"));
        let dependencies = package.dependencies.iter().map(|dependency| Dependency {
            name: dependency.name.clone(),
            edge: if dependency.kind == DependencyKind::Development {
                Edge::Dev
            } else {
                Edge::Build
            },
        });
        Self {
            name: package.name.to_string(),
            folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
            dependencies: dependencies.collect(),
            manifest,
            toml,
        }
    }

    /// Every dependency as the manifest has it, of every kind and platform.
    pub(crate) fn written_dependencies(&self) -> Vec<(&str, &toml::Value)> {
        let platforms = self.toml.get("target").and_then(toml::Value::as_table);
        let platforms = platforms
            .into_iter()
            .flat_map(|table| table.values())
            .filter_map(toml::Value::as_table);
        std::iter::once(&self.toml)
            .chain(platforms)
            .flat_map(|table| {
                ["dependencies", "dev-dependencies", "build-dependencies"]
                    .map(|kind| table.get(kind))
            })
            .flatten()
            .filter_map(toml::Value::as_table)
            .flat_map(|table| table.iter().map(|(name, value)| (name.as_str(), value)))
            .collect()
    }
}
