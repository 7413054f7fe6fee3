//! The certificate of a server under `--dev` that was given none: made on this machine, for this machine.
//!
//! It is kept, so that whoever was told once to believe it need not be told at each start, and made anew before it
//! ends.

use std::{
    env, fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use everwire_server::config::{CertificateFiles, Config, TlsMode};
use rcgen::{CertificateParams, DnType, KeyPair};
use time::{Duration, OffsetDateTime};

/// Whom it is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long it is valid: browsers take none for longer than 398 days.
const VALID: Duration = Duration::days(397);

/// After so long it is made anew.
const KEPT: Duration = Duration::days(360);

/// Gives a server under `--dev` a certificate if it speaks TLS and was given none.
pub fn complete(config: &mut Config) -> anyhow::Result<()> {
    if config.dev && config.tls.mode != TlsMode::Off && config.tls.certificates.is_empty() {
        let folder = state_folder(|name| env::var_os(name).map(PathBuf::from))?;
        let files = certificate(&folder, OffsetDateTime::now_utc()).with_context(|| {
            format!(
                "no certificate for --dev can be made in {}; make the folder writable, or list one as \
                 [[tls.certificates]]",
                folder.display()
            )
        })?;
        config.tls.certificates.push(files);
    }
    Ok(())
}

/// Where a user's programs keep what they have come to (XDG Base Directory Specification).
fn state_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    let state = state.ok_or_else(|| {
        anyhow!(
            "a certificate for --dev has nowhere to be kept: neither XDG_STATE_HOME nor HOME is set; set one, or list \
             a certificate as [[tls.certificates]]"
        )
    })?;
    Ok(state.join("everwire"))
}

/// The certificate in a folder, made anew if it is not there or too old.
fn certificate(folder: &Path, now: OffsetDateTime) -> anyhow::Result<CertificateFiles> {
    let files = CertificateFiles {
        cert_file: folder.join("localhost.pem"),
        key_file: folder.join("localhost.key"),
    };
    let made = fs::metadata(&files.cert_file).and_then(|about| about.modified());
    let is_fresh = made.is_ok_and(|made| now - OffsetDateTime::from(made) < KEPT);
    if is_fresh && files.key_file.exists() {
        return Ok(files);
    }
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.distinguished_name.push(
        DnType::CommonName,
        "Everwire, for development on this machine",
    );
    // A clock that is a little behind is no reason to refuse it.
    (params.not_before, params.not_after) = (now - Duration::DAY, now + VALID);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    write(&files.key_file, &key.serialize_pem(), 0o600)?;
    write(&files.cert_file, &certificate.pem(), 0o644)?;
    Ok(files)
}

/// Puts a file in its place as a whole.
fn write(path: &Path, content: &str, mode: u32) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    // Not what somebody left there, with other rights.
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(content.as_bytes())?;
    Ok(fs::rename(&beside, path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_again_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let now = OffsetDateTime::now_utc();
        let read = |files: &CertificateFiles| {
            [&files.cert_file, &files.key_file].map(|file| fs::read_to_string(file).unwrap())
        };
        let files = certificate(&folder, now).unwrap();
        let first = read(&files);
        // Not shown if it is otherwise: there is a key in it.
        assert!(read(&certificate(&folder, now).unwrap()) == first);
        let mode = fs::metadata(&files.key_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else reads the key");
        let later = now + KEPT + Duration::DAY;
        assert!(read(&certificate(&folder, later).unwrap()) != first);
        fs::remove_file(&files.key_file).unwrap();
        let third = read(&certificate(&folder, now).unwrap());
        assert!(third[1].contains("PRIVATE KEY"));
    }

    #[test]
    fn it_is_kept_where_the_user_keeps_state() {
        for (xdg, home, expected) in [
            (Some("/x"), Some("/h"), Some("/x/everwire")),
            (None, Some("/h"), Some("/h/.local/state/everwire")),
            (
                Some("relative"),
                Some("/h"),
                Some("/h/.local/state/everwire"),
            ),
            (None, None, None),
        ] {
            let folder = state_folder(|name| match name {
                "XDG_STATE_HOME" => xdg.map(PathBuf::from),
                _ => home.map(PathBuf::from),
            });
            assert_eq!(folder.ok(), expected.map(PathBuf::from), "{xdg:?} {home:?}");
        }
    }
}
