//! Compiles `reeve/**/*.proto` without protoc, and lists every RPC as an enum.
//!
//! The enum is what policy matches on, so an RPC that nobody thought about fails the build.

use std::{env, fmt::Write, fs, path::Path, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=reeve");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut files = Vec::new();
    collect(Path::new("reeve"), &mut files)?;
    files.sort();
    let set = protox::compile(&files, ["."])?;

    fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    fs::write(out.join("rpc.rs"), rpc_enum(&set)?)?;
    tonic_prost_build::configure()
        .bytes(".reeve.internal")
        .compile_fds(set)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// One variant for each RPC of `reeve.v1`, named service + method.
fn rpc_enum(set: &prost_types::FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut variants = String::new();
    let (mut paths, mut from, mut all) = (String::new(), String::new(), String::new());
    for file in set.file.iter().filter(|f| f.package() == "reeve.v1") {
        for service in &file.service {
            for method in &service.method {
                let variant = format!("{}{}", service.name().trim_end_matches("Service"), method.name());
                let path = format!("/reeve.v1.{}/{}", service.name(), method.name());
                writeln!(variants, "    /// `{path}`\n    {variant},")?;
                writeln!(paths, "            Rpc::{variant} => \"{path}\",")?;
                writeln!(from, "            \"{path}\" => Rpc::{variant},")?;
                write!(all, "Rpc::{variant}, ")?;
            }
        }
    }
    Ok(format!(
        "/// Every RPC of the public API.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n\
         pub enum Rpc {{\n{variants}}}\n\n\
         impl Rpc {{\n    /// All of them, in the order of the files.\n    pub const ALL: &[Rpc] = &[{all}];\n\n\
         /// The HTTP/2 path it is called by.\n    pub fn path(self) -> &'static str {{\n        match self {{\n{paths}        }}\n    }}\n\n\
         /// Reads an HTTP/2 path.\n    pub fn from_path(path: &str) -> Option<Rpc> {{\n        Some(match path {{\n{from}            _ => return None,\n        }})\n    }}\n}}\n"
    ))
}
