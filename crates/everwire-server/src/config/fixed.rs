//! Settings that hold until the server is started anew: what is made of them cannot be made again while it runs.

use super::{Config, ConfigError};

/// A setting that takes a restart.
struct Fixed {
    path: &'static str,
    /// Takes it over from the configuration that holds. True if the new one says something else.
    keep: fn(new: &mut Config, running: &Config) -> bool,
}

macro_rules! keep {
    ($($part:ident).+) => {
        |new, running| {
            let is_other = new.$($part).+ != running.$($part).+;
            new.$($part).+.clone_from(&running.$($part).+);
            is_other
        }
    };
}

/// All of them.
const FIXED: &[Fixed] = &[
    Fixed {
        path: "listen",
        keep: keep!(listen),
    },
    Fixed {
        path: "threads",
        keep: keep!(threads),
    },
    Fixed {
        path: "dev",
        keep: keep!(dev),
    },
    Fixed {
        path: "events.enabled",
        keep: keep!(events.enabled),
    },
    Fixed {
        path: "acme.domains",
        keep: keep!(acme.domains),
    },
    Fixed {
        path: "acme.contact",
        keep: keep!(acme.contact),
    },
    Fixed {
        path: "acme.directory",
        keep: keep!(acme.directory),
    },
    Fixed {
        path: "acme.challenge",
        keep: keep!(acme.challenge),
    },
    Fixed {
        path: "acme.storage",
        keep: keep!(acme.storage),
    },
    Fixed {
        path: "acme.external_account_kid",
        keep: keep!(acme.external_account_kid),
    },
    Fixed {
        path: "acme.external_account_hmac_file",
        keep: keep!(acme.external_account_hmac_file),
    },
    Fixed {
        path: "acme.profile",
        keep: keep!(acme.profile),
    },
    Fixed {
        path: "reload.on_change",
        keep: keep!(reload.on_change),
    },
    Fixed {
        path: "outbound.ca_file",
        keep: keep!(outbound.ca_file),
    },
    Fixed {
        path: "outbound.connections_per_host_max",
        keep: keep!(outbound.connections_per_host_max),
    },
];

impl Config {
    /// The configuration that a running server goes on with: this one, but for settings that take a restart. Tells
    /// which of those it says otherwise.
    ///
    /// # Errors
    ///
    /// What is new makes no sense with what has to stay.
    pub(crate) fn succeed(
        mut self,
        running: &Config,
    ) -> Result<(Self, Vec<&'static str>), ConfigError> {
        let kept = FIXED
            .iter()
            .filter(|fixed| (fixed.keep)(&mut self, running))
            .map(|fixed| fixed.path)
            .collect();
        Ok((self.checked()?, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;

    #[test]
    fn a_running_server_takes_over_all_but_what_takes_a_restart() {
        let running = Config::default();
        let said = "threads = 3\nevents.enabled = true\nlimits.lines_max = 7\n";
        let (next, kept) = Config::from_toml(said).unwrap().succeed(&running).unwrap();
        assert_eq!(kept, ["threads", "events.enabled"]);
        let mut expected = running.clone();
        expected.limits.lines_max = 7;
        assert_eq!(next, expected);
        assert_eq!(next.clone().succeed(&running).unwrap().1, [""; 0]);
    }

    /// What is new has to make sense with what stays: here certificates that nothing would show.
    #[test]
    fn a_configuration_that_makes_no_sense_with_what_stays_is_refused() {
        let running = "tls.mode = \"only\"\nacme = { domains = [\"live.example.org\"], storage = \"/var/lib/everwire\" }\n";
        let running = Config::from_toml(running).unwrap();
        let error = Config::default().succeed(&running).unwrap_err().to_string();
        assert!(error.contains("acme"), "{error}");
    }

    #[test]
    fn the_manual_says_which_settings_take_a_restart() {
        let said: Vec<String> = settings()
            .into_iter()
            .filter(|setting| setting.doc.contains("Takes a restart."))
            .map(|setting| setting.path)
            .collect();
        let mut fixed: Vec<_> = FIXED.iter().map(|fixed| fixed.path).collect();
        fixed.sort_by_key(|path| said.iter().position(|said| said == path));
        assert_eq!(said, fixed);
    }
}
