//! Randomness that nobody can guess, from the operating system.

/// So many random bytes: masking keys, nonces, seeds.
///
/// # Panics
///
/// If the operating system has no randomness, without which nothing here is safe.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// 128 random bits, as text.
pub(crate) fn hex() -> String {
    format!("{:032x}", u128::from_ne_bytes(bytes()))
}
