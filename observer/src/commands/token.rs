//! `observer token`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::TokenArgs;
use crate::exposition::auth;

/// Makes a token and prints it, alone on its line, for scripts.
pub fn token(args: &TokenArgs) -> Result<ExitCode> {
    let token = auth::add(&args.auth_file, &args.user, args.role)?;
    println!("{}", token.reveal());
    let (user, role) = (&args.user, args.role);
    eprintln!(
        "a token for {user} ({role}), shown this once: send it as Kong-Admin-Token, as a bearer's or by basic auth"
    );
    Ok(ExitCode::SUCCESS)
}
