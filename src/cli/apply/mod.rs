//! `kdaemon apply`: applies a Compose file to the cluster.

mod carry_out;
mod compose;
mod deploy;
mod health_check;
mod interpolate;
mod plan;
mod reader;
mod service;
mod spec;
#[cfg(test)]
mod tests;
mod values;
mod yaml;

use super::CliContext;
use super::error::CliError;
use super::output::{Format, json, print, say, yaml as yaml_text};
use super::variables::read_file;
use interpolate::Variables;
use plan::ApplyPlan;
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of `kdaemon apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kdaemon apply -f compose.yml
  kdaemon apply -f compose.yml --dry-run
  kdaemon apply -f compose.yml --yes --prune
  sed s/1.27/1.28/ compose.yml | kdaemon apply -f - --name shop --yes

Services become applications of the same name, in the order of depends_on, with the label kdaemon.stack. Variables such as
${TAG:-latest} come from this shell and from .env next to the file. Parts of the file that kDaemon does not support are
reported with their line. Applying the same file again changes nothing.")]
pub(super) struct ApplyArgs {
    /// Compose file; - reads stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Name of the stack [default: `name` in the file, or the name of its folder]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Apply without asking
    #[arg(short, long)]
    yes: bool,
    /// Only show what would be done
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Remove applications of the stack that are no longer in the file, and their containers
    #[arg(long)]
    prune: bool,
    /// Include the services of this profile
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// Timeout for the containers of each service
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = super::change::wait_time)]
    wait: Duration,
    /// Do not wait for containers
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

/// The largest accepted file, in bytes.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// Shows the plan, asks, and carries it out.
pub(super) async fn run(cx: &CliContext, args: &ApplyArgs) -> Result<(), CliError> {
    let is_stdin = args.file == Path::new("-");
    let folder = match args.file.parent() {
        Some(parent) if !is_stdin && parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let text = read(&args.file, is_stdin)?;
    let shown = if is_stdin { "stdin".to_owned() } else { args.file.display().to_string() };
    let wrong = |why: String| CliError::Invalid(format!("{shown}: {why}"));
    let mut root = yaml::YamlNode::parse(&text).map_err(wrong)?;
    let mut variables = Variables::new(known_variables(&folder)?);
    variables.resolve(&mut root).map_err(wrong)?;
    for (name, line) in &variables.unset {
        say(format_args!("{shown}: line {line}: variable {name} is not set; using an empty value"));
    }
    let stack = compose::read(&root, &folder, &args.profiles).map_err(|errors| wrong(errors.join("\n  ")))?;
    let name = stack_name(args.name.as_ref().or(stack.name.as_ref()), &folder)?;
    let plan = ApplyPlan::make(cx, &name, stack, args.prune).await?;
    let warnings = plan.warnings();
    if !warnings.is_empty() {
        say(warnings.trim_end());
    }
    match cx.output {
        Some(Format::Json) => print(&json(&plan)?)?,
        Some(Format::Yaml) => print(&yaml_text(&plan)?)?,
        Some(Format::Name) => {
            let names = plan.steps.iter().map(|step| format!("{}\n", step.application));
            print(&names.collect::<String>())?;
        }
        None | Some(Format::Table | Format::Wide) => print(&plan.text())?,
    }
    if plan.is_empty() {
        say("no changes");
        return Ok(());
    }
    if args.dry_run {
        return Ok(());
    }
    if !args.yes && !confirmed(is_stdin)? {
        say("cancelled");
        return Ok(());
    }
    let wait = Some(args.wait).filter(|_| !args.no_wait);
    carry_out::run(cx, &plan, wait).await
}

fn read(file: &Path, is_stdin: bool) -> Result<String, CliError> {
    let failure = |error: std::io::Error| CliError::Invalid(format!("{}: {error}", file.display()));
    let mut text = String::new();
    let read = if is_stdin {
        std::io::stdin().lock().take(FILE_LIMIT + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).map_err(failure)?.take(FILE_LIMIT + 1).read_to_string(&mut text)
    };
    match read.map_err(failure)? as u64 {
        ..=FILE_LIMIT => Ok(text),
        _ => Err(CliError::Invalid(format!("{}: larger than the limit of 4 MiB", file.display()))),
    }
}

/// The variables of `.env` next to the file, overridden by the environment of this process.
fn known_variables(folder: &Path) -> Result<std::collections::BTreeMap<String, String>, CliError> {
    let file = folder.join(".env");
    let mut variables = if file.is_file() { read_file(&file)? } else { Default::default() };
    variables.extend(std::env::vars_os().filter_map(|(name, value)| {
        // A Compose file cannot use a variable that is not valid UTF-8.
        Some((name.into_string().ok()?, value.into_string().ok()?))
    }));
    Ok(variables)
}

/// The given name, or the folder's name with only the characters that Compose allows.
fn stack_name(given: Option<&String>, folder: &Path) -> Result<String, CliError> {
    let name = match given {
        Some(name) => name.clone(),
        None => {
            let folder = folder.canonicalize()?;
            let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase());
            let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            name.unwrap_or_default().chars().filter(allowed).collect()
        }
    };
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(CliError::Usage("the stack has no name; set one with --name".to_owned()));
    }
    Ok(name)
}

fn confirmed(is_stdin: bool) -> Result<bool, CliError> {
    if is_stdin || !std::io::stdin().is_terminal() {
        return Err(CliError::Usage(
            "not a terminal: pass --yes to apply or --dry-run to preview".to_owned(),
        ));
    }
    let _ = write!(std::io::stderr(), "Apply these changes? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().take(100).read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
