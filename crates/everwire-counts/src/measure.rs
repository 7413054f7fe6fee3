//! How an operation is run so that nothing but the operation is counted.

use std::hint::black_box;

/// Runs `work` once for each of `times` inputs inside [`measured`], and tells its name on standard output.
///
/// Everything that happens once is outside: the inputs are made before, and the operation was done before, so
/// that buffers have grown and the choice of vector instructions was made.
pub fn operation<T>(
    name: &str,
    times: usize,
    mut input: impl FnMut() -> T,
    mut work: impl FnMut(&mut T),
) {
    for _ in 0..WARM_UPS {
        work(&mut input());
    }
    let mut inputs: Vec<T> = (0..times).map(|_| input()).collect();
    measured(times, &mut |index| work(black_box(&mut inputs[index])));
    println!("{times} {name}");
}

/// As [`operation`], for what needs no input of its own.
pub fn repeated(name: &str, mut work: impl FnMut()) {
    operation(name, MANY, || (), |()| work());
}

/// Callgrind counts while this function runs, and writes what it has counted when it returns. It must be found
/// by its name and return by itself: neither inlined nor ended by a jump.
#[inline(never)]
fn measured(times: usize, work: &mut dyn FnMut(usize)) {
    for index in 0..times {
        work(index);
    }
}

/// The name by which Callgrind finds [`measured`].
pub const MEASURED: &str = concat!(module_path!(), "::measured");

/// Times a small operation is repeated, so that what is not repeated vanishes.
pub const MANY: usize = 200;

/// Times a large operation is repeated.
pub const FEW: usize = 4;

const WARM_UPS: usize = 3;
