//! `deploy/kubernetes` and `deploy/Containerfile`, as far as no cluster and no container engine is needed for it: against the
//! types that are made from the API's own schema, against the agent's command line, and against what the agent needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, Probe, ServiceAccount};
use observer::cli::{Cli, Command};
use observer::config::Config;
use observer_tests::agent::binary;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn read(file: &str) -> Result<String> {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(file);
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

fn documents() -> Result<Vec<Value>> {
    let text = read("deploy/kubernetes/daemonset.yaml")?;
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).context(document.to_owned())).collect()
}

/// Reads a document as the API's type. A field that the type does not have is lost on the way, which is an error here.
fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> Result<T> {
    let read: T = serde_json::from_value(document.clone())?;
    check_kept(document, &serde_json::to_value(&read)?, "")?;
    Ok(read)
}

fn check_kept(written: &Value, read: &Value, path: &str) -> Result<()> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().try_for_each(|(key, value)| {
            let path = format!("{path}.{key}");
            check_kept(value, read.get(key).with_context(|| format!("{path} is no field of the API"))?, &path)
        }),
        (Value::Array(written), Value::Array(read)) => {
            ensure!(written.len() == read.len(), "{path}");
            written.iter().zip(read).try_for_each(|(written, read)| check_kept(written, read, path))
        }
        _ if written == read => Ok(()),
        _ => bail!("{path} is {written}, and {read} to the API"),
    }
}

fn of_kind<T: DeserializeOwned + Serialize>(kind: &str) -> Result<T> {
    let all = documents()?;
    let document = all.iter().find(|document| document["kind"] == kind).with_context(|| format!("no {kind}"))?;
    typed(document).with_context(|| kind.to_owned())
}

fn container(set: &DaemonSet) -> Result<&Container> {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("no pod")?;
    let [container] = pod.containers.as_slice() else { bail!("not one container") };
    Ok(container)
}

#[test]
fn every_document_is_what_the_api_takes() -> Result<()> {
    let kinds: Vec<Value> = documents()?.iter().map(|document| document["kind"].clone()).collect();
    assert_eq!(kinds, ["Namespace", "ServiceAccount", "ConfigMap", "DaemonSet"]);
    of_kind::<Namespace>("Namespace")?;
    of_kind::<ServiceAccount>("ServiceAccount")?;
    let config: ConfigMap = of_kind("ConfigMap")?;
    for (name, text) in config.data.context("no data")? {
        Config::parse_own(&name, &text).map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    of_kind::<DaemonSet>("DaemonSet").map(drop)
}

#[test]
fn a_field_that_the_api_does_not_have_is_found() -> Result<()> {
    let mut document = documents()?.pop().context("no document")?;
    document["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilites"] = Value::Null;
    let error = typed::<DaemonSet>(&document).map(drop).unwrap_err().to_string();
    assert!(error.ends_with(".capabilites is no field of the API"), "{error}");
    Ok(())
}

#[test]
fn the_pod_has_the_hosts_processes_and_capabilities_instead_of_privilege() -> Result<()> {
    let set: DaemonSet = of_kind("DaemonSet")?;
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("no pod")?;
    assert_eq!((pod.host_pid, pod.host_network), (Some(true), Some(true)));
    let security = container(&set)?.security_context.as_ref().context("no security context")?;
    assert_eq!(security.privileged, Some(false));
    assert_eq!(security.allow_privilege_escalation, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    let capabilities = security.capabilities.as_ref().context("no capabilities")?;
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    let added: BTreeSet<&str> = capabilities.add.iter().flatten().map(String::as_str).collect();
    // What it keeps once it is attached, what attaching takes, and the priority of the thread that reads the ring.
    let kept = observer::privileges::LATER.iter().map(|reason| reason.capability.to_string());
    let needed: BTreeSet<String> = kept.chain(["CAP_BPF".to_owned(), "CAP_SYS_NICE".to_owned()]).collect();
    assert_eq!(added, needed.iter().map(|name| name.trim_start_matches("CAP_")).collect());
    // The container that one starts by hand has the same.
    let added_by_hand = read("deploy/Containerfile")?;
    let (_, list) = added_by_hand.split_once("--cap-add=").context("no --cap-add")?;
    assert_eq!(list.split([' ', '\n']).next().context("no list")?.split(',').collect::<BTreeSet<_>>(), added);
    Ok(())
}

#[test]
fn the_agent_takes_its_arguments_and_the_probes_ask_for_pages_that_it_has() -> Result<()> {
    let set: DaemonSet = of_kind("DaemonSet")?;
    let container = container(&set)?;
    let arguments = container.args.clone().unwrap_or_default();
    let cli = Cli::try_parse_from(["observer".to_owned()].into_iter().chain(arguments.clone()))?;
    let Some(Command::Run(run)) = cli.command else { bail!("it does not run") };
    assert!(!run.surface.insecure && run.surface.auth_file.is_some());

    // Each variable that the arguments name comes from the downward API.
    let variables: Vec<_> = container.env.iter().flatten().collect();
    for argument in &arguments {
        if let Some((_, rest)) = argument.split_once("$(") {
            let name = rest.trim_end_matches(')');
            let variable = variables.iter().find(|variable| variable.name == name).context(name.to_owned())?;
            let source = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
            assert!(source.is_some(), "{name} is not from the downward API");
        }
    }
    assert_eq!(variables.len(), 3);

    let path = |probe: &Option<Probe>| probe.as_ref()?.http_get.as_ref()?.path.clone();
    assert_eq!(path(&container.readiness_probe).as_deref(), Some("/ready"));
    assert_eq!(path(&container.liveness_probe).as_deref(), Some("/healthy"));
    assert_eq!(path(&container.startup_probe).as_deref(), Some("/healthy"));
    Ok(())
}

/// Whatever a volume mounts is declared, and every declared volume is mounted.
#[test]
fn tokens_come_from_a_secret() -> Result<()> {
    let set: DaemonSet = of_kind("DaemonSet")?;
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("no pod")?;
    let volumes: BTreeSet<&str> = pod.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    let mounts: BTreeSet<&str> =
        container(&set)?.volume_mounts.iter().flatten().map(|mount| mount.name.as_str()).collect();
    assert_eq!(volumes, mounts);
    let secret = pod.volumes.iter().flatten().find_map(|volume| volume.secret.as_ref()).context("no secret")?;
    assert_eq!(secret.default_mode, Some(0o400));
    Ok(())
}

/// No container engine is needed to see that the image would have what the program asks for.
#[test]
fn the_containerfile_copies_what_is_built_and_its_c_library_is_new_enough() -> Result<()> {
    let text = read("deploy/Containerfile")?;
    let instruction = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    assert_eq!(instruction("COPY"), Some("target/release/observer /usr/bin/observer"));
    assert_eq!(instruction("FROM"), Some("debian:12-slim"));
    // Debian 12 has glibc 2.36, and libgcc and libm beside it.
    let program = fs::read(binary()?)?;
    let newest = program.windows(10).filter(|window| window.starts_with(b"GLIBC_2.")).filter_map(|window| {
        let digits: String =
            window[8..].iter().map(|byte| char::from(*byte)).take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let newest = newest.max().context("no version of glibc")?;
    assert!((2..=36).contains(&newest), "{newest}");
    Ok(())
}
