//! The project's own commands: `cargo xtask --help`.

mod bench;
mod book;
mod cargo;
mod chaos;
mod ci;
mod demo;
mod features;
mod languages;
mod links;
mod readme;
mod services;
mod settings;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Starts, ends and shows the PostgreSQL and Kafka of the tests.
    #[command(subcommand)]
    Services(services::Command),
    /// Runs every test, with the servers they need.
    Test(test::Command),
    /// Places orders, kills processes, and checks that every order took effect exactly once, in order.
    Demo(demo::Command),
    /// Does harm to servers and programs by chance, and has judged what became of their events.
    #[command(disable_help_flag = true)]
    Chaos(chaos::Command),
    /// Measures workloads beside their floors, and checks what each did.
    Bench(bench::Command),
    /// Checks what the compiler does not: dependencies between crates, SQL, packaging, long files.
    Tidy,
    /// Writes the README of each published crate from its documentation.
    Readme,
    /// Writes the page of all settings, docs/settings.md.
    Settings,
    /// Builds the pages of docs as a book, by mdBook, which it installs below the target folder.
    Book,
    /// Runs all that a change must pass.
    Ci,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Services(command) => services::run(command).await,
        Command::Test(command) => test::run_tests(command).await,
        Command::Demo(command) => demo::run(command).await,
        Command::Chaos(command) => chaos::run_storm(&command),
        Command::Bench(command) => bench::run_workloads(command).await,
        Command::Tidy => tidy::run_checks(),
        Command::Readme => readme::write_all(),
        Command::Settings => settings::write_page(),
        Command::Book => book::build(),
        Command::Ci => ci::run_steps().await,
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
