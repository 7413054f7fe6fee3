//! The account at the authority: registered once, and kept.

use std::{fmt, io, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};

use super::{
    failure::Failure,
    storage::{Kept, Storage},
    told::Listener,
};
use crate::config::{Acme, ConfigError};

/// The account, wherever it is.
pub(crate) struct Accounts {
    storage: Storage,
    directory: String,
    /// As URLs.
    contact: Vec<String>,
    external: Option<External>,
}

/// The account, ready for use.
pub(crate) struct Access {
    pub account: Account,
    /// Whether it is from an earlier time, so that the authority may have forgotten it.
    pub was_stored: bool,
}

/// An account elsewhere that is to be bound to this one (RFC 8555, section 7.3.4).
pub(crate) struct External {
    kid: String,
    key: Vec<u8>,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct KeptAccount {
    contact: Vec<String>,
    credentials: AccountCredentials,
}

impl Accounts {
    /// By these settings; nobody is asked yet.
    pub fn new(settings: &Acme, storage: Storage, external: Option<External>) -> Self {
        Self {
            storage,
            directory: settings.directory.clone(),
            contact: (settings.contact.iter())
                .map(|address| format!("mailto:{address}"))
                .collect(),
            external,
        }
    }

    /// The account: the stored one, or else a new one, which is stored before it is used.
    pub async fn access(&self, listener: &Listener) -> Result<Access, Failure> {
        let failed = |doing, error| Failure::of(doing, &error, listener.told());
        let builder = Account::builder_with_http(Box::new(listener.clone()));
        if let Some(kept) = self.stored().await? {
            let account = builder.from_credentials(kept.credentials).await;
            let account = account.map_err(|error| failed(DIRECTORY, error))?;
            if kept.contact != self.contact {
                self.update_contact(&account).await;
            }
            return Ok(Access {
                account,
                was_stored: true,
            });
        }
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = self.external.as_ref();
        let external = external.map(|one| ExternalAccountKey::new(one.kid.clone(), &one.key));
        let (account, credentials) = builder
            .create(&new, self.directory.clone(), external.as_ref())
            .await
            .map_err(|error| match error {
                Error::Api(_) => failed("the authority registered no account", error),
                error => failed(DIRECTORY, error),
            })?;
        tracing::info!(
            account = account.id(),
            "an account was registered at the certificate authority"
        );
        self.keep(credentials).await?;
        Ok(Access {
            account,
            was_stored: false,
        })
    }

    /// Puts the stored account aside: the authority does not take it any more.
    pub async fn put_aside(&self) -> Result<(), Failure> {
        let storage = self.storage.clone();
        on_disk(move || storage.put_aside(Kept::Account, "refused")).await?;
        Ok(())
    }

    async fn stored(&self) -> Result<Option<KeptAccount>, Failure> {
        let storage = self.storage.clone();
        let Some(text) = on_disk(move || storage.read(Kept::Account)).await? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).or_else(|_| {
            let path = self.storage.path(Kept::Account);
            tracing::warn!(
                path = %path.display(),
                "the stored account cannot be read, so it is put aside; registering a new one"
            );
            self.storage.put_aside(Kept::Account, "unreadable")?;
            Ok(None)
        })
    }

    async fn keep(&self, credentials: AccountCredentials) -> Result<(), Failure> {
        let kept = KeptAccount {
            contact: self.contact.clone(),
            credentials,
        };
        let text = serde_json::to_string_pretty(&kept).expect("an account is text");
        let storage = self.storage.clone();
        on_disk(move || storage.write(Kept::Account, &text)).await?;
        Ok(())
    }

    /// Tells the authority of other addresses. A certificate does not depend on it.
    async fn update_contact(&self, account: &Account) {
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        if let Err(error) = account.update_contacts(&contact).await {
            tracing::warn!(%error, "the certificate authority did not take the changed acme.contact");
            return;
        }
        if let Ok(Some(kept)) = self.stored().await
            && let Err(error) = self.keep(kept.credentials).await
        {
            tracing::warn!(%error, "the changed acme.contact cannot be stored, and is told again");
        }
    }
}

impl External {
    /// What the settings name, if anything.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no key.
    pub fn read(
        settings: &Acme,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Option<Self>, ConfigError> {
        if settings.external_account_kid.is_empty() {
            return Ok(None);
        }
        let path = &settings.external_account_hmac_file;
        let wrong = |problem: String| {
            let problem = format!("is {}, {problem}", path.display());
            ConfigError::value("acme.external_account_hmac_file", problem)
        };
        let text = read(path).map_err(|error| wrong(format!("which cannot be read: {error}")))?;
        let text = text.trim_ascii();
        let text = text.strip_suffix(b"=").unwrap_or(text);
        let text = text.strip_suffix(b"=").unwrap_or(text);
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(key) if !key.is_empty() => Ok(Some(Self {
                kid: settings.external_account_kid.clone(),
                key,
            })),
            _ => Err(wrong(
                "which holds no key in base64url; write the MAC key as the authority gave it"
                    .to_owned(),
            )),
        }
    }
}

/// Without the key.
impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Does what waits for the disk where nobody else is held up.
pub(super) async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}

const DIRECTORY: &str = "the certificate authority cannot be asked";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_key_of_an_external_account_is_read_and_never_shown() {
        let settings = Acme {
            external_account_kid: "kid-1".to_owned(),
            external_account_hmac_file: PathBuf::from("hmac"),
            ..Acme::default()
        };
        for (text, expected) in [
            ("c2VjcmV0", Some(&b"secret"[..])),
            ("c2VjcmV0\n", Some(b"secret")),
            ("c2VjcmV0LQ==\n", Some(b"secret-")),
            ("__-_", Some(&[0xff, 0xff, 0xbf])),
            ("", None),
            ("not base64url!", None),
        ] {
            let read = External::read(&settings, &mut |_| Ok(text.into()));
            match (read, expected) {
                (Ok(Some(external)), Some(key)) => {
                    assert_eq!(external.key, key, "{text:?}");
                    assert!(!format!("{external:?}").contains("115"), "{external:?}");
                }
                (Err(error), None) => {
                    let error = error.to_string();
                    assert!(error.contains("is hmac, which holds no key"), "{error}");
                    assert!(!error.contains("not base64url!"), "{error}");
                }
                (read, _) => panic!("{text:?} gave {read:?}"),
            }
        }
        let none = External::read(&Acme::default(), &mut |_| panic!("nothing is read"));
        assert!(none.unwrap().is_none());
    }
}
