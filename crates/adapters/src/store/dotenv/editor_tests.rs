use proptest::prelude::*;

use super::super::quote::quoted;
use super::super::testing::origin;
use super::*;

fn stamp(seed: u8, value: &str) -> Stamp {
    Stamp::new(&origin(seed), "TOKEN", value)
}

fn put(text: &str, seed: u8, value: &str) -> Result<String, Tangled> {
    let editor = Editor::parse(text.as_bytes()).unwrap();
    let out = editor.put("TOKEN", &stamp(seed, value), &quoted(value).unwrap())?;
    Ok(out.to_string())
}

fn standing(text: &str) -> Standing {
    Editor::parse(text.as_bytes()).unwrap().standing("TOKEN")
}

#[test]
fn a_variable_is_added_at_the_end_and_taken_out_again() {
    let text = "# head\r\nA=1\r\n\r\n  export B = 'x'\nnonsense\n";
    let out = put(text, 1, "v 1").unwrap();
    assert_eq!(out, format!("{text}{}\nTOKEN='v 1'\n", stamp(1, "v 1").line()));
    let editor = Editor::parse(out.as_bytes()).unwrap();
    assert_eq!(editor.value("TOKEN"), Some("v 1"));
    assert_eq!(editor.take("TOKEN", &origin(1).placement).unwrap().as_str(), text);
    assert_eq!(editor.take("TOKEN", &origin(2).placement), None);
}

#[test]
fn a_file_without_a_line_end_gets_one_first() {
    assert_eq!(put("A=1", 1, "v").unwrap(), format!("A=1\n{}\nTOKEN=v\n", stamp(1, "v").line()));
}

#[test]
fn a_newer_version_takes_the_place_of_the_older_one() {
    let first = put("A=1\n", 1, "one").unwrap().replace("TOKEN=", "export TOKEN=") + "Z=1\n";
    let second = put(&first, 2, "two").unwrap();
    assert_eq!(second, format!("A=1\n{}\nexport TOKEN=two\nZ=1\n", stamp(2, "two").line()));
    assert_eq!(Editor::parse(second.as_bytes()).unwrap().take("TOKEN", &origin(1).placement), None);
}

#[test]
fn copies_of_our_own_lines_are_repaired_into_one() {
    let ours = put("", 1, "one").unwrap();
    let twice = format!("{ours}A=1\n{ours}B=1\n");
    assert_eq!(put(&twice, 2, "two").unwrap(), format!("A=1\n{}\nTOKEN=two\nB=1\n", stamp(2, "two").line()));
    let editor = Editor::parse(twice.as_bytes()).unwrap();
    assert_eq!(editor.take("TOKEN", &origin(1).placement).unwrap().as_str(), "A=1\nB=1\n");
}

#[test]
fn whatever_some_reader_takes_for_an_assignment_is_foreign() {
    let ours = put("", 1, "one").unwrap();
    for text in [
        "TOKEN=theirs\n",
        " export  TOKEN = theirs\n",
        "TOKEN: theirs\n",
        "TOKEN\n",
        "export TOKEN\n",
        "A=1 TOKEN=2\n",
        "export A=1 TOKEN=2\n",
        "true;TOKEN=2\n",
        "TOKEN+=x\n",
        "\u{feff}TOKEN=1\n",
        "\u{a0}TOKEN=1\n",
        &format!("{ours}TOKEN=theirs\n"),
        &format!("TOKEN=theirs\n{ours}"),
        &ours.replace("=one", "=changed-by-hand"),
        &ours.replace("\nTOKEN", "\n\nTOKEN"),
        &ours.replace("\nTOKEN", "\nTOKEN=0 TOKEN"),
    ] {
        assert_eq!(standing(text), Standing::Foreign, "{text:?}");
    }
}

#[test]
fn whatever_no_reader_takes_for_an_assignment_is_no_obstacle() {
    for text in [
        "",
        "# TOKEN=old\n",
        "MY_TOKEN=1\nTOKEN_2=1\n",
        "URL=https://x/?TOKEN=1&b=2\n",
        "A='set TOKEN=1'\n",
        "A='\nTOKEN=1\n'\n",
        "A=$TOKEN\n",
        "A=1 # TOKEN=1\n",
    ] {
        assert_eq!(standing(text), Standing::Absent, "{text:?}");
    }
}

#[test]
fn a_foreign_value_is_taken_over_only_where_it_is_plain_and_single() {
    let one = "A=1\n\texport  TOKEN=theirs # note\nB=1\n";
    let expected = format!("A=1\n{}\nexport TOKEN=v\nB=1\n", stamp(1, "v").line());
    assert_eq!(put(one, 1, "v").unwrap(), expected);
    for text in ["TOKEN=1\nTOKEN=2\n", "TOKEN\n", "A=1 TOKEN=2\n"] {
        assert_eq!(put(text, 1, "v"), Err(Tangled), "{text:?}");
    }
}

#[test]
fn taking_out_leaves_what_was_changed_by_hand_and_finds_what_was_moved() {
    let ours = put("", 1, "one").unwrap();
    let placement = origin(1).placement;
    let take =
        |text: &str| Editor::parse(text.as_bytes()).unwrap().take("TOKEN", &placement).unwrap().to_string();
    assert_eq!(take(&ours.replace("=one", "=theirs")), "TOKEN=theirs\n");
    assert_eq!(take(&ours.replace("\nTOKEN", "\nA=1\nTOKEN")), "A=1\n");
    assert_eq!(take(&ours.replace('\n', "\r\n")), "");
}

/// Lines and pieces from which awkward files are made.
fn file() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "A=1",
        "B='x y'",
        "export C=\"z\"",
        "# it's",
        "",
        " ",
        "D='two\nlines'",
        "E",
        "F: 2",
        "set -a",
        "TOKEN",
        "G=a#b",
        "H=\"q\" # c",
        "\tI = j",
        "nonsense 'q' x",
        "é=ü",
        "K=$(id)",
        "L=`id`",
        "M=\\x",
        "=x",
        "# A='",
        "TOKEN2=1",
        "N=",
        "O= ",
        "'",
        "\"",
        "P='",
        "Q=x'",
        "TOKEN=t",
        "R=1 TOKEN=2",
    ]);
    let end = prop::sample::select(vec!["\n", "\r\n", "\n\n", ""]);
    prop::collection::vec((piece, end), 0..12)
        .prop_map(|lines| lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn only_the_touched_lines_change(text in file(), value in "[a-zA-Z0-9 #$\"=]{1,12}") {
        let Ok(editor) = Editor::parse(text.as_bytes()) else { return Ok(()) };
        prop_assume!(editor.standing("TOKEN") == Standing::Absent);
        let once = put(&text, 1, &value).unwrap();
        let ours = format!("{}\nTOKEN={}\n", stamp(1, &value).line(), quoted(&value).unwrap().as_str());
        let kept = once.strip_suffix(&ours).unwrap();
        prop_assert!(kept.strip_suffix("\n") == Some(&text) || kept == text);
        prop_assert_eq!(standing(&once), Standing::Ours(stamp(1, &value)));
        prop_assert_eq!(put(&once, 1, &value).unwrap(), once.clone(), "a second write changes nothing");

        let more = format!("{once}Z='after\n'\r\n");
        let replaced = put(&more, 2, "next").unwrap();
        let expected = format!("{kept}{}\nTOKEN=next\nZ='after\n'\r\n", stamp(2, "next").line());
        prop_assert_eq!(&replaced, &expected);
        let editor = Editor::parse(replaced.as_bytes()).unwrap();
        let taken = editor.take("TOKEN", &origin(2).placement).unwrap();
        prop_assert_eq!(taken.as_str(), format!("{kept}Z='after\n'\r\n"));
    }

    #[test]
    fn any_bytes_are_either_split_without_loss_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(editor) = Editor::parse(&bytes) {
            let joined: String = editor.statements.iter().map(|s| editor.slice(s)).collect();
            prop_assert_eq!(joined.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn any_text_is_either_split_without_loss_or_refused(text in "[A-Z='\"`\\\\ \n\r#:$(){}é]{0,80}") {
        if let Ok(editor) = Editor::parse(text.as_bytes()) {
            let joined: String = editor.statements.iter().map(|s| editor.slice(s)).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
