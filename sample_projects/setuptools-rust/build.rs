fn main() {
    println!("cargo:rerun-if-changed=src/checksum.c");
    cc::Build::new().file("src/checksum.c").flag_if_supported("-ftls-model=initial-exec").compile("checksum");
}
