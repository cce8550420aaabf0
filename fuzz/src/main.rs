//! One target under libFuzzer, named by `FUZZ_TARGET`; libFuzzer's own flags are the arguments. `cargo xtask fuzz` builds and calls it.
//! Built without libFuzzer it runs mutations on the stable toolchain for ten seconds.

#![cfg_attr(fuzzing, no_main)]
#![allow(clippy::print_stdout)] // its output is for people

#[cfg(fuzzing)]
mod libfuzzer {
    use std::sync::LazyLock;

    static TARGET: LazyLock<&fuzz::Target> = LazyLock::new(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        fuzz::find(&name).expect("FUZZ_TARGET names a target of fuzz/src/lib.rs")
    });

    libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    if std::env::args().nth(1).as_deref() == Some("--list") {
        for target in fuzz::TARGETS {
            println!("{}", target.name);
        }
        return ExitCode::SUCCESS;
    }
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(target) = fuzz::find(&name) else {
        println!("FUZZ_TARGET names one of: --list");
        return ExitCode::FAILURE;
    };
    match fuzz::smoke::run(target, u32::MAX, std::time::Duration::from_secs(10)) {
        Ok(rounds) => {
            println!("{name}: {rounds} rounds");
            ExitCode::SUCCESS
        }
        Err(finding) => {
            println!("{finding}");
            ExitCode::FAILURE
        }
    }
}
