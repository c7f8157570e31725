//! Packs the compiled catalogs: they are text that repeats itself, and they are read one at a time, if at all.

use std::path::Path;

fn main() -> std::io::Result<()> {
    // Where the package stands now: a build that is shared by two checkouts was compiled in only one of them.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .ok_or_else(|| std::io::Error::other("no CARGO_MANIFEST_DIR"))?;
    let catalogs = Path::new(&here).join("../../catalogs");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("no OUT_DIR"))?;
    println!("cargo::rerun-if-changed={}", catalogs.display());
    for entry in std::fs::read_dir(&catalogs)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "tsv")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            println!("cargo::rerun-if-changed={}", path.display());
            let packed = miniz_oxide::deflate::compress_to_vec(&std::fs::read(&path)?, 9);
            std::fs::write(Path::new(&out).join(format!("{name}.deflate")), packed)?;
        }
    }
    Ok(())
}
