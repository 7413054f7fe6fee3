//! Who may read `/metrics`.

use serde::{Deserialize, Serialize};

/// Who may read `/metrics`, besides those who may read the name `$everwire/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsAccess {
    /// Everybody.
    Open,
    /// Programs on the same machine.
    Local,
    /// Nobody.
    Granted,
}
