//! How files are delivered: each writer by its very file operations (R01 to R18, R28, R29, R40 to R46, R58 and siblings).

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use countersign::playground::rotate::Volume;

use super::stage::{EVENTS, Stage, both_ways};
use crate::support::files;
use crate::support::wait::until;

/// Puts something where the secret should be.
type Make<'m> = &'m dyn Fn(&Path);

/// A projected volume with the token and something else.
fn swap(dir: &Path, value: &str) {
    Volume::new(dir).unwrap().write(&[("partner/key", value.as_bytes()), ("other", b"o")]).unwrap();
}

async fn projected(mode: &str) -> Stage {
    Stage::prepared(mode, |dir| swap(dir, "one")).await
}

/// A folder that a link leads to, as deployments with releases have it.
async fn released(mode: &str) -> Stage {
    Stage::prepared(mode, |dir| {
        files::write_new(dir, ".releases/1/key", b"one");
        symlink(".releases/1", dir.join("partner")).unwrap();
    })
    .await
}

both_ways! {
    r01_kubelet_swap_of_a_token(mode) {
        let stage = projected(mode).await;
        swap(&stage.dir(), "new");
        stage.serves("new", &["one"]).await;
        assert_eq!(stage.reloads().await, 1.0);
    }

    r02_every_further_kubelet_swap_is_seen_too(mode) {
        let stage = projected(mode).await;
        let mut before = "one".to_owned();
        for value in ["new-1", "new-2", "new-3"] {
            swap(&stage.dir(), value);
            stage.serves(value, &[&before]).await;
            value.clone_into(&mut before);
        }
        assert_eq!(stage.reloads().await, 3.0);
    }

    r04_an_older_kubelet_makes_links_before_the_swap(mode) {
        let stage = Stage::prepared(mode, |dir| {
            Volume::new(dir).unwrap().write(&[("other", b"o")]).unwrap();
            files::write_new(dir, "aside", b"one");
            fs::create_dir(dir.join("partner")).unwrap();
            symlink("../aside", dir.join("partner/key")).unwrap();
        })
        .await;
        // The link of the new key dangles until the swap.
        fs::remove_file(stage.dir().join("partner/key")).unwrap();
        fs::remove_dir(stage.dir().join("partner")).unwrap();
        symlink("..data/partner", stage.dir().join("partner")).unwrap();
        assert_eq!(stage.token().await, "one");
        swap(&stage.dir(), "new");
        stage.serves("new", &["one"]).await;
    }

    r05_a_key_that_vanishes_from_the_volume_keeps_its_value(mode) {
        let stage = projected(mode).await;
        Volume::new(stage.dir()).unwrap().write(&[("other", b"o")]).unwrap();
        stage.keeps("one", "missing", "missing").await;
        swap(&stage.dir(), "new");
        stage.serves("new", &["one"]).await;
    }

    r07_r43_the_same_content_again_is_no_reload(mode) {
        let stage = projected(mode).await;
        Volume::new(stage.dir()).unwrap().write(&[("partner/key", b"one"), ("other", b"p")]).unwrap();
        let real = fs::canonicalize(stage.key()).unwrap();
        File::open(real).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        stage.proxy.server.reload().await;
        assert_eq!(stage.reloads().await, 0.0);
        swap(&stage.dir(), "new");
        stage.serves("new", &["one"]).await;
        assert_eq!(stage.reloads().await, 1.0);
    }

    r08_of_fifty_swaps_at_once_the_last_one_wins(mode) {
        let stage = projected(mode).await;
        for n in 0..50 {
            swap(&stage.dir(), &format!("v{n}"));
        }
        until("the last", async || stage.token().await == "v49").await;
        assert!(stage.reloads().await <= 50.0);
        let seen = stage.upstream.seen();
        let order: Vec<i32> = seen
            .iter()
            .map(|seen| seen.head.header("authorization").unwrap().trim_start_matches("Bearer ").to_owned())
            .map(|value| value.strip_prefix('v').map_or(-1, |n| n.parse().unwrap()))
            .collect();
        assert!(order.is_sorted(), "never back to an older value: {order:?}");
    }

    r09_written_in_place(mode) {
        let stage = Stage::plain(mode).await;
        files::in_place(&stage.key(), "new");
        stage.serves("new", &["one"]).await;
    }

    r10_written_in_place_in_pieces(mode) {
        let stage = Stage::plain(mode).await;
        let mut file = OpenOptions::new().write(true).truncate(true).open(stage.key()).unwrap();
        for piece in ["a-long-", "new-", "token"] {
            // What is there now is read, or at least looked at, before the next piece comes.
            stage.proxy.server.reload().await;
            assert_eq!(stage.token().await, "one", "never empty, never cut");
            file.write_all(piece.as_bytes()).unwrap();
        }
        drop(file);
        stage.serves("a-long-new-token", &["one"]).await;
    }

    r11_a_temporary_file_is_renamed_over(mode) {
        let stage = Stage::plain(mode).await;
        // Vault Agent and consul-template: a name of chance in the same folder, fsync, chmod, rename.
        for value in ["new", "newer"] {
            let aside = stage.dir().join("partner/172839465");
            fs::write(&aside, value).unwrap();
            File::open(&aside).unwrap().sync_all().unwrap();
            fs::rename(aside, stage.key()).unwrap();
            stage.serves(value, &["one", "new"]).await;
        }
    }

    r12_a_backup_is_linked_before_the_rename(mode) {
        let stage = Stage::plain(mode).await;
        fs::hard_link(stage.key(), stage.dir().join("partner/key.bak")).unwrap();
        files::rename_over(&stage.key(), "new");
        stage.serves("new", &["one"]).await;
    }

    r13_vim_moves_the_old_file_away_and_writes_a_new_one(mode) {
        let stage = Stage::plain(mode).await;
        let folder = stage.dir().join("partner");
        fs::write(folder.join("4913"), "").unwrap();
        fs::remove_file(folder.join("4913")).unwrap();
        fs::rename(stage.key(), folder.join("key~")).unwrap();
        fs::write(stage.key(), "new\n").unwrap();
        fs::remove_file(folder.join("key~")).unwrap();
        stage.serves("new", &["one"]).await;
    }

    r14_deleted_and_made_again(mode) {
        let stage = Stage::plain(mode).await;
        fs::remove_file(stage.key()).unwrap();
        assert_eq!(stage.token().await, "one");
        files::write_new(&stage.dir(), "partner/key", b"new");
        until("new", async || stage.token().await == "new").await;
        until("health", async || stage.proxy.health("k").await == "ok").await;
    }

    r15_deleted_for_good(mode) {
        let stage = Stage::plain(mode).await;
        fs::remove_file(stage.key()).unwrap();
        stage.keeps("one", "missing", "missing").await;
    }

    r16_a_link_to_a_release_is_flipped(mode) {
        let stage = released(mode).await;
        for (number, value) in [(2, "new"), (3, "newer")] {
            files::write_new(&stage.dir(), &format!(".releases/{number}/key"), value.as_bytes());
            files::flip(&stage.dir().join("partner"), format!(".releases/{number}").as_ref());
            stage.serves(value, &["one", "new"]).await;
        }
    }

    r17_a_link_is_removed_and_made_again(mode) {
        let stage = released(mode).await;
        files::write_new(&stage.dir(), ".releases/2/key", b"new");
        fs::remove_file(stage.dir().join("partner")).unwrap();
        assert_eq!(stage.token().await, "one");
        symlink(".releases/2", stage.dir().join("partner")).unwrap();
        until("new", async || stage.token().await == "new").await;
    }

    r18_the_directory_itself_is_replaced(mode) {
        let stage = Stage::plain(mode).await;
        let base = stage.proxy.scratch.path("");
        for value in ["new", "newer"] {
            files::write_new(&base, "fresh/partner/key", value.as_bytes());
            fs::rename(base.join("secrets"), base.join("away")).unwrap();
            assert!(["one", "new"].contains(&&*stage.token().await));
            fs::rename(base.join("fresh"), base.join("secrets")).unwrap();
            fs::remove_dir_all(base.join("away")).unwrap();
            until(value, async || stage.token().await == value).await;
        }
        files::rename_over(&stage.key(), "a rename after that");
        stage.serves("a rename after that", &["newer"]).await;
    }

    r19_a_hard_link_to_the_first_version_never_changes(mode) {
        // What a subPath mount looks like from inside; the warning about real mounts is checked as root.
        let stage = Stage::prepared(mode, |dir| {
            files::write_new(dir, ".volume/key", b"one");
            fs::create_dir(dir.join("partner")).unwrap();
            fs::hard_link(dir.join(".volume/key"), dir.join("partner/key")).unwrap();
        })
        .await;
        files::rename_over(&stage.dir().join(".volume/key"), "new");
        stage.proxy.server.reload().await;
        assert_eq!((stage.token().await, stage.proxy.health("k").await), ("one".into(), "ok".into()));
    }

    r28_r29_line_ends_are_cut(mode) {
        let stage = projected(mode).await;
        for (written, value) in [("new\n", "new"), ("newer\n\n", "newer"), ("newest\r\n", "newest")] {
            swap(&stage.dir(), written);
            stage.serves(value, &["one", "new", "newer"]).await;
        }
    }

    r40_r41_r42_what_is_no_file_never_hangs(mode) {
        let stage = Stage::plain(mode).await;
        let key = stage.key();
        let socket = |path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        let fifo = |path: &Path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        };
        let ways: [(Make<'_>, &str, &str); 5] = [
            (&fifo, "not_regular", "FIFO"),
            (&socket, "not_regular", "socket"),
            (&|path| fs::create_dir(path).unwrap(), "not_regular", "directory"),
            (&|path| symlink("key", path).unwrap(), "broken_link", "leads nowhere"),
            (&|path| symlink("/dev/null", path).unwrap(), "not_regular", "device"),
        ];
        for (make, label, words) in ways {
            fs::remove_file(&key).unwrap();
            make(&key);
            stage.keeps("one", label, words).await;
            assert_eq!(stage.proxy.admin("/livez").await.status, 200);
            if key.is_dir() { fs::remove_dir(&key).unwrap() } else { fs::remove_file(&key).unwrap() }
            files::write_new(&stage.dir(), "partner/key", b"one");
            until("health", async || stage.proxy.health("k").await == "ok").await;
        }
    }

    r44_other_bytes_behind_the_same_size_and_mtime(mode) {
        let stage = Stage::plain(mode).await;
        let before = fs::metadata(stage.key()).unwrap().modified().unwrap();
        let mut file = OpenOptions::new().write(true).open(stage.key()).unwrap();
        file.write_all(b"two").unwrap();
        file.set_modified(before).unwrap();
        drop(file);
        stage.serves("two", &["one"]).await;
    }

    r45_data_dangles_for_a_while(mode) {
        let stage = projected(mode).await;
        let data = stage.dir().join("..data");
        let good = fs::read_link(&data).unwrap();
        let lead = |target: &Path| {
            symlink(target, stage.dir().join("..data_tmp")).unwrap();
            fs::rename(stage.dir().join("..data_tmp"), &data).unwrap();
        };
        lead("..gone".as_ref());
        stage.proxy.server.reload().await;
        assert_eq!(stage.token().await, "one");
        lead(&good);
        swap(&stage.dir(), "new");
        stage.serves("new", &["one"]).await;
    }

    r46_left_overs_of_a_crash_are_never_read(mode) {
        let stage = projected(mode).await;
        let stray = "..2001_01_01_00_00_00.1234567890";
        files::write_new(&stage.dir(), &format!("{stray}/partner/key"), b"stale");
        symlink(stray, stage.dir().join("..data_tmp")).unwrap();
        stage.proxy.server.reload().await;
        assert_eq!(stage.token().await, "one");
        fs::remove_file(stage.dir().join("..data_tmp")).unwrap();
        swap(&stage.dir(), "new");
        stage.serves("new", &["one"]).await;
    }

    r57_a_service_manager_refreshes_credentials(mode) {
        // systemd makes a new directory and puts it where the old one was; the files keep their names and modes.
        let stage = Stage::plain(mode).await;
        let base = stage.proxy.scratch.path("");
        files::write_new(&base, "next/partner/key", b"new");
        fs::rename(base.join("secrets"), base.join("previous")).unwrap();
        fs::rename(base.join("next"), base.join("secrets")).unwrap();
        until("new", async || stage.token().await == "new").await;
    }

    r58_a_link_that_leads_outward_is_followed(mode) {
        let stage = Stage::plain(mode).await;
        let outside = stage.proxy.scratch.path("outside");
        fs::write(&outside, "elsewhere").unwrap();
        files::flip(&stage.key(), &outside);
        stage.serves("elsewhere", &["one"]).await;
        files::rename_over(&outside, "elsewhere again");
        stage.serves("elsewhere again", &["elsewhere"]).await;
    }

    sibling_names_come_and_go_in_one_swap(mode) {
        let stage = projected(mode).await;
        let volume = Volume::new(stage.dir()).unwrap();
        volume.write(&[("partner/key", b"new"), ("partner/added", b"a"), ("added", b"b")]).unwrap();
        stage.serves("new", &["one"]).await;
        volume.write(&[("partner/key", b"newer")]).unwrap();
        stage.serves("newer", &["new"]).await;
    }

    sibling_a_file_becomes_a_link_and_a_file_again(mode) {
        let stage = Stage::plain(mode).await;
        files::write_new(&stage.dir(), ".store/two", b"two");
        files::flip(&stage.key(), "../.store/two".as_ref());
        stage.serves("two", &["one"]).await;
        files::rename_over(&stage.key(), "three");
        stage.serves("three", &["two"]).await;
    }

    sibling_a_plain_folder_becomes_a_projected_volume(mode) {
        // The secrets store CSI driver does this to the files of older providers.
        let stage = Stage::plain(mode).await;
        let dir = stage.dir();
        files::write_new(&dir, "..2026_01_01_00_00_00.1/partner/key", b"new");
        symlink("..2026_01_01_00_00_00.1", dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        fs::remove_file(stage.key()).unwrap();
        fs::remove_dir(dir.join("partner")).unwrap();
        symlink("..data/partner", dir.join("partner")).unwrap();
        stage.serves("new", &["one"]).await;
    }

    sibling_names_of_strange_bytes_beside_it_do_no_harm(mode) {
        use std::os::unix::ffi::OsStrExt as _;
        let stage = Stage::plain(mode).await;
        for name in [&b"\xff\xfe"[..], b"line\nbreak", b"\x1b[31m", b"back\\slash", b"caf\xc3\xa9"] {
            fs::write(stage.dir().join("partner").join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
        }
        files::rename_over(&stage.key(), "new");
        stage.serves("new", &["one"]).await;
    }

    sibling_a_clock_that_goes_back_hides_nothing(mode) {
        let stage = Stage::plain(mode).await;
        for (value, year) in [("new", 40), ("newer", 10)] {
            let aside = stage.dir().join("partner/.aside");
            fs::write(&aside, value).unwrap();
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(year * 31_536_000);
            File::open(&aside).unwrap().set_modified(then).unwrap();
            fs::rename(aside, stage.key()).unwrap();
            stage.serves(value, &["one", "new"]).await;
        }
    }
}

#[tokio::test]
async fn sibling_a_very_deep_name_is_read_and_rotates() {
    let deep = "a/b/c/d/e/f/g/h/i/j/k/l/key";
    let upstream = crate::support::Upstream::ok().await;
    let text = super::bearer_text(&upstream.url()).replace("partner/key", deep);
    let setup = crate::support::Setup::new(text).secrets(EVENTS).secret(deep, "one");
    let stage = Stage { proxy: setup.start().await, upstream };
    assert_eq!(stage.token().await, "one");
    files::rename_over(&stage.dir().join(deep), "new");
    stage.serves("new", &["one"]).await;
}

#[tokio::test]
async fn sibling_thousands_of_events_end_in_the_last_value() {
    let stage = Stage::plain(EVENTS).await;
    for n in 0..3000 {
        fs::write(stage.dir().join(format!("partner/noise-{}", n % 50)), n.to_string()).unwrap();
    }
    files::rename_over(&stage.key(), "new");
    for n in 0..3000 {
        fs::write(stage.dir().join(format!("partner/noise-{}", n % 50)), n.to_string()).unwrap();
    }
    stage.serves("new", &["one"]).await;
}
