fn main() -> std::process::ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|a| a.to_str()).unwrap_or("") {
        "up" => local::up_main(args),
        "restart" => local::restart_main(args),
        "exec-child" => runtime::child::exec_main(args),
        "up-watchdog" => local::watchdog::main(args),
        _ => std::process::ExitCode::from(64),
    }
}
