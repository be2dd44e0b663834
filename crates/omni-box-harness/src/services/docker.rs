//! Servers in containers, by testcontainers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::PortBinding;
use testcontainers::bollard::query_parameters::RemoveContainerOptionsBuilder;
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::local::{free_port, kafka_settings};
use super::{Origin, Record, Service, ready};

/// A daemon that runs answers in milliseconds; a stale socket must not cost the user a minute.
const PING_WITHIN: Duration = Duration::from_secs(3);
/// Time to pull an image and start it.
const START_WITHIN: Duration = Duration::from_secs(180);
const READY_WITHIN: Duration = Duration::from_secs(60);

const KAFKA_CONTROLLER_PORT: u16 = 9093;

/// Starts `service` in a container that outlives this process.
#[expect(clippy::mem_forget, reason = "dropping it would remove the container")]
pub(super) async fn start(service: Service, dir: &Path) -> Result<Record> {
    ping().await?;
    let port = free_port()?;
    let (request, address) = match service {
        Service::Postgres => (postgres(port)?, format!("postgres://postgres@127.0.0.1:{port}/postgres")),
        Service::Kafka => (kafka(port)?, format!("127.0.0.1:{port}")),
    };
    let container = request.with_startup_timeout(START_WITHIN).start().await.context("container")?;
    let record = Record { service, address, origin: Origin::Container { id: container.id().to_owned() } };
    record.save(dir)?;
    // from here on the record owns it
    std::mem::forget(container);
    if let Err(error) = ready::answers(service, &record.address, READY_WITHIN).await {
        super::end(&record, dir).await?;
        return Err(error);
    }
    Ok(record)
}

/// Removes a container with its volumes; one that is gone already is not an error.
pub(super) async fn remove(id: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match connect()?.remove_container(id, Some(options)).await {
        Ok(()) | Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove container {id}")),
    }
}

fn connect() -> Result<Docker> {
    Docker::connect_with_defaults().context("no Docker daemon")
}

async fn ping() -> Result<()> {
    if let Ok(host) = std::env::var("DOCKER_HOST") {
        anyhow::ensure!(
            host.starts_with("unix://"),
            "DOCKER_HOST={host} is another machine, ports are published on this one"
        );
    }
    let docker = connect()?;
    tokio::time::timeout(PING_WITHIN, docker.ping())
        .await
        .context("the Docker daemon does not answer")?
        .context("no Docker daemon")?;
    Ok(())
}

fn image(variable: &str, default: &str) -> GenericImage {
    let image = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    // A colon before the last slash belongs to a registry's port.
    match image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => GenericImage::new(name, tag),
        None => GenericImage::new(image.as_str(), "latest"),
    }
}

fn postgres(port: u16) -> Result<ContainerRequest<GenericImage>> {
    Ok(publish(image("OMNI_BOX_POSTGRES_IMAGE", "postgres:17"), port, 5432)
        .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
        .with_cmd(["postgres", "-c", "max_connections=300", "-c", "fsync=on"]))
}

fn kafka(port: u16) -> Result<ContainerRequest<GenericImage>> {
    let request = publish(image("OMNI_BOX_KAFKA_IMAGE", "apache/kafka:4.3.1"), port, port);
    Ok(kafka_environment(port).fold(request, |request, (name, value)| request.with_env_var(name, value)))
}

/// What the image is told, by its own rule for names of settings.
fn kafka_environment(port: u16) -> impl Iterator<Item = (String, String)> {
    let settings = kafka_settings("0.0.0.0", port, KAFKA_CONTROLLER_PORT).into_iter();
    settings
        .map(|(key, value)| (format!("KAFKA_{}", key.to_uppercase().replace('.', "_")), value))
        .chain([("KAFKA_HEAP_OPTS".to_owned(), "-Xmx512m".to_owned())])
}

/// Publishes a port on the loopback address only; testcontainers by itself opens it to the network.
fn publish(image: GenericImage, host: u16, inside: u16) -> ContainerRequest<GenericImage> {
    image.with_mapped_port(host, inside.tcp()).with_host_config_modifier(move |config| {
        let binding =
            PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host.to_string()) };
        config.port_bindings = Some([(format!("{inside}/tcp"), Some(vec![binding]))].into());
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::servers;
    use crate::services::default_dir;
    use crate::services::local::jars;

    /// The program by which the image makes its settings of its environment, and formats its storage, is in Kafka's own jars.
    #[test]
    fn kafkas_image_takes_the_environment() -> Result<()> {
        if servers().is_none() {
            return Ok(());
        }
        let dir = tempfile::tempdir()?;
        let [defaults, mounted, made] = ["defaults", "mounted", "made"].map(|name| dir.path().join(name));
        for folder in [&defaults, &mounted, &made] {
            std::fs::create_dir(folder)?;
        }
        for name in ["server.properties", "log4j2.yaml", "tools-log4j2.yaml"] {
            std::fs::write(defaults.join(name), "")?;
        }
        let set_up = Command::new(jars::java()?)
            .arg("-cp")
            .arg(jars::fetch(&default_dir())?.join("*"))
            .args(["kafka.docker.KafkaDockerWrapper", "setup", "--default-configs-dir"])
            .arg(&defaults)
            .arg("--mounted-configs-dir")
            .arg(&mounted)
            .arg("--final-configs-dir")
            .arg(&made)
            .envs(kafka_environment(29_092))
            .env("KAFKA_LOG_DIRS", dir.path().join("data"))
            .env("CLUSTER_ID", "b21uaS1ib3gtaGFybmVzcw")
            .output()?;
        let said = String::from_utf8_lossy(&set_up.stdout) + String::from_utf8_lossy(&set_up.stderr);
        assert!(set_up.status.success(), "{said}");
        let settings = std::fs::read_to_string(made.join("server.properties"))?;
        for setting in ["listeners=PLAINTEXT://0.0.0.0:29092,CONTROLLER://127.0.0.1:9093", "node.id=1"] {
            assert!(settings.lines().any(|line| line == setting), "{setting} is not in {settings}");
        }
        assert!(dir.path().join("data/meta.properties").is_file(), "the storage is formatted: {said}");
        Ok(())
    }
}
