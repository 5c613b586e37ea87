//! What sizes and offsets do not tell: the functions' arguments and results.

/// The source files that declare functions of the ABI.
const SOURCES: [&str; 5] =
    ["host.rs", "partitioner.rs", "storage/mod.rs", "storage/ownership.rs", "storage/types.rs"];

pub(crate) fn without_comments(c: &str) -> String {
    let mut code = String::new();
    let mut rest = c;
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code + rest
}

/// `*const RouteRequest` as C writes it, with what it is a type of.
fn declaration(rust: &str, name: &str) -> String {
    if let Some(inner) = rust.strip_prefix("*mut ") {
        return declaration(inner, &format!("*{name}"));
    }
    if let Some(inner) = rust.strip_prefix("*const ") {
        return format!("const {}", declaration(inner, &format!("*{name}")));
    }
    let plain = match rust {
        "u8" => "uint8_t",
        "u32" => "uint32_t",
        "u64" => "uint64_t",
        "i32" => "int32_t",
        "usize" => "size_t",
        "c_void" => "void",
        named => return format!("{} {name}", c_name(named)),
    };
    format!("{plain} {name}")
}

fn c_name(rust: &str) -> String {
    let mut name = String::from("wafka");
    for character in rust.chars() {
        if character.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The functions that a Rust source declares as fields, as C declares them.
fn functions(source: &str) -> Vec<String> {
    let code: String = source.lines().filter(|line| !line.trim_start().starts_with("///")).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push(' ');
            code
        },
    );
    let mut found = Vec::new();
    for part in code.split("pub ").skip(1) {
        let Some((name, rest)) = part.split_once(": Option<").or_else(|| part.split_once(":  ")) else {
            continue;
        };
        let rest = rest.trim_start().trim_start_matches("Option<").trim_start();
        let Some(rest) = rest.strip_prefix("unsafe extern \"C\" fn(") else { continue };
        let (arguments, rest) = rest.split_once(')').unwrap();
        let result = rest
            .trim_start()
            .strip_prefix("-> ")
            .map_or("void", |rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap());
        let result = declaration(if result == "void" { "c_void" } else { result }, "");
        let arguments = arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty());
        let arguments: Vec<String> = arguments
            .map(|argument| {
                let (name, of) = argument.split_once(':').unwrap();
                declaration(of.trim(), name.trim())
            })
            .collect();
        found.push(words(&format!("{}(*{name})({});", result, arguments.join(", "))));
    }
    found
}

#[test]
fn the_header_declares_the_functions_as_rust_does() {
    let header = crate::read("crates/wafka-plugin-abi/include/wafka_plugin.h");
    let header = words(&without_comments(&header));
    let mut count = 0;
    for source in SOURCES {
        for function in functions(&crate::read(&format!("crates/wafka-plugin-abi/src/{source}"))) {
            assert!(header.contains(&function), "{source}: the header lacks\n{function}");
            count += 1;
        }
    }
    assert_eq!(count, header.matches("(*").count(), "functions in the header");
    let entry = "const wafka_manifest *wafka_plugin_manifest(const wafka_host *host);";
    assert!(header.contains(entry), "the header lacks\n{entry}");
}
