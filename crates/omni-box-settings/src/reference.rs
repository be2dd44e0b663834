//! The page of all settings.

use std::fmt::Write;

use crate::KEYS;
use crate::key::{Key, Kind};
use crate::keys::SECTIONS;

const HEAD: &str = "# Settings

Of each setting a flag of the program has the last word, then the environment, then the file, then the default. A program that takes flags gives
them to `Settings::load_with`: `--config FILE`, and `--set section.key=value` with the value as in the environment. The file is TOML: the one that `OMNI_BOX_CONFIG` names, else
`omni-box.toml` in the working directory, if there is one. `[section] key` of the file is `OMNI_<SECTION>__<KEY>` in the environment:
`OMNI_OUTBOX_PROCESSOR__BATCH_SIZE=500` is

```toml
[outbox_processor]
batch_size = 500
```

| kind | in the file | in the environment |
|---|---|---|
| text | `\"orders\"` | `orders` |
| number | `500` | `500` |
| duration: a whole number with `ms`, `s`, `m`, `h` or `d` | `\"10s\"` | `10s` |
| size: a whole number with `B`, `KiB`, `MiB`, `GiB` or `TiB` | `\"8MiB\"` | `8MiB` |
| list | `[\"orders\", \"returns\"]` | `orders,returns` |
| properties of librdkafka | `properties = { \"linger.ms\" = \"5\" }` | `OMNI_KAFKA__PROPERTIES__LINGER_MS=5` |

A key or variable that does not exist is refused, with the one that was meant; so is a number without its unit. A *secret* is in no message and no
log. It may stand in a file of its own, named by `<key>_file` (such as `url_file`), in place of the value. The file is read again for each
new pool or client.

This page is written by `cargo xtask settings` from the table that the program reads.
";

/// The page, in Markdown: what is in `docs/settings.md`.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for (section, about) in SECTIONS {
        // writing to a string cannot fail
        let _ =
            write!(page, "\n## [{section}]\n\n{about}\n\n| key | kind | default | |\n|---|---|---|---|\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let default = key.default.map(|text| format!("`{text}`")).unwrap_or_default();
            let _ = writeln!(page, "| `{}` | {} | {default} | {} |", key.name, kind(key), key.doc);
        }
    }
    page
}

fn kind(key: &Key) -> String {
    let kind = match key.kind {
        Kind::Text => "text".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::List => "list".to_owned(),
        Kind::Properties => "properties".to_owned(),
    };
    if key.secret { format!("{kind}, secret") } else { kind }
}
