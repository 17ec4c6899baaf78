//! What may be written after `connect`, `connections` and `state`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::admin::connections::{LIMIT_DEFAULT, LIMIT_MAX, STATES};
use crate::cli::exit;

/// Options of `connect`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConnectArgs {
    /// Which connection.
    #[command(flatten)]
    pub which: Which,
    /// How long to wait for the browser to come back
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = crate::cli::args::duration)]
    pub timeout: Duration,
    /// Print the URL only
    #[arg(long)]
    pub no_browser: bool,
}

/// One connection.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// The credential's name in the configuration
    #[arg(value_name = "CREDENTIAL")]
    pub credential: String,
    /// The tenant, where the credential has a connection for each
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
}

impl Which {
    /// The tenant, empty where none is named.
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or_default()
    }
}

/// `connections ..`
#[derive(Clone, Debug, clap::Args)]
pub struct ConnectionsArgs {
    /// What is done.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is done with connections.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// List connections and how they are
    #[command(after_long_help = exit::HELP)]
    List(ListArgs),
    /// Show one connection
    #[command(after_long_help = exit::HELP)]
    Show(Which),
    /// Refresh a connection's token now
    ///
    /// Asks the platform, whether or not it is time. Exits 3 when a person must approve again, 4 when the cause may
    /// pass.
    #[command(after_long_help = exit::HELP)]
    Refresh(Which),
    /// End a connection here and at the platform
    ///
    /// Its tokens are wiped from the store, every proxy on it stops using them within 10 seconds, and the platform is
    /// told where the credential has a revoke_url.
    #[command(after_long_help = exit::HELP)]
    Revoke(RevokeArgs),
    /// Take over tokens that exist already
    ///
    /// Reads JSON Lines: credential, tenant, access_token and refresh_token (or one of them), expires_at or expires_in,
    /// refresh_expires_at, scope, values, host. All lines are taken or none; a mistake names its line, never a value.
    #[command(after_long_help = exit::HELP)]
    Import(ImportArgs),
    /// Print connections with their tokens, as import takes them
    #[command(after_long_help = exit::HELP)]
    Export(ExportArgs),
}

/// Options of `connections list`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Of this credential alone
    #[arg(long, value_name = "CREDENTIAL")]
    pub credential: Option<String>,
    /// Of this tenant alone
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// In this state alone
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    pub state: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    pub limit: u32,
    /// Where the page before ended: its "next"
    #[arg(long, value_name = "NEXT")]
    pub after: Option<String>,
}

/// Options of `connections revoke`.
#[derive(Clone, Debug, clap::Args)]
pub struct RevokeArgs {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Every connection of the credential
    #[arg(long, conflicts_with = "tenant")]
    pub all: bool,
}

/// Options of `connections import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The file; - or none is standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replace connections that exist already; without it one of them refuses the whole file
    #[arg(long)]
    pub replace: bool,
}

/// Options of `connections export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// Of this credential alone
    #[arg(value_name = "CREDENTIAL")]
    pub credential: Option<String>,
    /// Of this tenant alone
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// That the output has tokens in clear is what is wanted
    #[arg(long, required = true)]
    pub yes_print_tokens: bool,
}

/// `state ..`
#[derive(Clone, Debug, clap::Args)]
pub struct StateArgs {
    /// What is done.
    #[command(subcommand)]
    pub verb: StateVerb,
}

/// What is done with the store.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum StateVerb {
    /// Seal every stored token anew with the first of the configured state keys
    ///
    /// After a new key was put first: once this has run everywhere, the old one can be taken off the list.
    #[command(after_long_help = exit::HELP)]
    Rekey,
}
