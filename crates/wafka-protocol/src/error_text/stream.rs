//! The texts of the stream commands' errors.

use super::quoted;

/// A malformed entry ID.
pub const INVALID_STREAM_ID: &str = "ERR Invalid stream ID specified as stream command argument";
/// The ID of an `XADD` does not exceed the last one.
pub const ID_TOO_SMALL: &str =
    "ERR The ID specified in XADD is equal or smaller than the target stream top item";
/// `XADD` with ID `0-0`.
pub const ID_ZERO: &str = "ERR The ID specified in XADD must be greater than 0-0";
/// `XADD *` after the highest ID.
pub const EXHAUSTED: &str = "ERR The stream has exhausted the last possible ID, unable to add more items";
/// An exclusive start after which there is no ID.
pub const INVALID_START: &str = "ERR invalid start ID for the interval";
/// An exclusive end before which there is no ID.
pub const INVALID_END: &str = "ERR invalid end ID for the interval";

/// `LIMIT` without `~`.
pub const LIMIT_WITHOUT_APPROX: &str = "ERR syntax error, LIMIT cannot be used without the special ~ option";
/// `LIMIT` without `MAXLEN` or `MINID`.
pub const LIMIT_WITHOUT_TRIM: &str =
    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
/// `LIMIT` below zero.
pub const LIMIT_NEGATIVE: &str = "ERR The LIMIT argument must be >= 0.";
/// `MAXLEN` below zero.
pub const MAXLEN_NEGATIVE: &str = "ERR The MAXLEN argument must be >= 0.";
/// `MAXLEN` and `MINID` together.
pub const MAXLEN_AND_MINID: &str =
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";

/// `XSETID` below an ID that was deleted.
pub const SETID_BELOW_DELETED: &str =
    "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
/// `XSETID` below the `MAXDELETEDID` given with it.
pub const SETID_BELOW_GIVEN_DELETED: &str =
    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
/// `XSETID` below the last entry.
pub const SETID_BELOW_TOP: &str = "ERR The ID specified in XSETID is smaller than the target stream top item";
/// `XSETID` with fewer `ENTRIESADDED` than there are entries.
pub const SETID_ENTRIES_ADDED: &str =
    "ERR The entries_added specified in XSETID is smaller than the target stream length";
/// `XSETID` with negative `ENTRIESADDED`.
pub const ENTRIES_ADDED_NEGATIVE: &str = "ERR entries_added must be positive";

/// `>` in `XREAD`.
pub const XREAD_NEW_ID: &str =
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.";
/// `$` in `XREADGROUP`.
pub const XREADGROUP_LAST_ID: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read \
    the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
    return an empty result set.";
/// `+` in `XREADGROUP`.
pub const XREADGROUP_TOP_ID: &str = "ERR The + ID is meaningless in the context of XREADGROUP: you want to read \
    the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just \
    return an empty result set.";
/// Keys without an ID each in `XREAD`.
pub const XREAD_UNBALANCED: &str =
    "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.";
/// Keys without an ID each in `XREADGROUP`.
pub const XREADGROUP_UNBALANCED: &str =
    "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.";
/// `XREADGROUP CLAIM` with something else than milliseconds.
pub const MIN_IDLE_NOT_INTEGER: &str = "ERR min-idle-time is not an integer or out of range";
/// `XREADGROUP CLAIM` with negative milliseconds.
pub const MIN_IDLE_NEGATIVE: &str = "ERR min-idle-time must be a positive integer";
/// `MAXCOUNT` that is not a number above 0.
pub const MAXCOUNT_NOT_POSITIVE: &str = "ERR MAXCOUNT must be a positive integer";
/// `MAXSIZE` that is not a number above 0.
pub const MAXSIZE_NOT_POSITIVE: &str = "ERR MAXSIZE must be a positive integer";
/// `XREADGROUP` without `GROUP`.
pub const XREADGROUP_NEEDS_GROUP: &str = "ERR Missing GROUP option for XREADGROUP";
/// `MAXCOUNT` below `COUNT`.
pub const MAXCOUNT_BELOW_COUNT: &str = "ERR MAXCOUNT must be greater than or equal to COUNT";

/// `XGROUP CREATE` of a group that exists.
pub const BUSYGROUP: &str = "BUSYGROUP Consumer Group name already exists";
/// `XGROUP` on a missing key.
pub const XGROUP_NEEDS_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you \
    may want to use the MKSTREAM option to create an empty stream automatically.";
/// `ENTRIESREAD` below -1.
pub const ENTRIES_READ_NEGATIVE: &str = "ERR value for ENTRIESREAD must be positive or -1";
/// `XNACK` with another mode.
pub const NACK_MODE: &str = "ERR mode must be SILENT, FAIL, or FATAL";

/// `IDS` with something else than a number above 0.
pub const NUMIDS_NOT_POSITIVE: &str = "ERR Number of IDs must be a positive integer";
/// `XAUTOCLAIM` with a `COUNT` that is not above 0.
pub const AUTOCLAIM_COUNT: &str = "ERR COUNT must be > 0";
/// `IDS` whose number does not fit the arguments.
pub const NUMIDS_MISMATCH: &str = "ERR The `numids` parameter must match the number of arguments";

/// `IDMP` or `IDMPAUTO` with an ID of the client's own.
pub const IDMP_NEEDS_AUTO_ID: &str =
    "ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs";
/// `IDMP` or `IDMPAUTO` twice.
pub const IDMP_REPEATED: &str = "ERR syntax error, IDMP/IDMPAUTO specified multiple times";
/// `IDMP` with an empty producer ID.
pub const IDMP_EMPTY_PRODUCER: &str = "ERR syntax error, IDMP requires a non-empty producer ID";
/// `IDMP` with an empty idempotent ID.
pub const IDMP_EMPTY_ID: &str = "ERR syntax error, IDMP requires a non-empty idempotent ID";
/// `IDMPAUTO` with an empty producer ID.
pub const IDMPAUTO_EMPTY_PRODUCER: &str = "ERR syntax error, IDMPAUTO requires a non-empty producer ID";
/// `XCFGSET` without anything to set.
pub const CFGSET_NOTHING: &str = "ERR At least one parameter must be specified";
/// `XCFGSET IDMP-DURATION` out of range.
pub const IDMP_DURATION: &str = "ERR IDMP-DURATION must be between 1 and 86400 seconds";
/// `XCFGSET IDMP-MAXSIZE` out of range.
pub const IDMP_MAXSIZE: &str = "ERR IDMP-MAXSIZE must be between 1 and 10000 entries";
/// `XIDMPRECORD` of an entry that does not exist.
pub const NO_SUCH_MESSAGE: &str = "ERR No such message in stream";

/// `XREAD` with `option` (`GROUP`, `NOACK`, `CLAIM`), which belongs to `XREADGROUP`.
#[must_use]
pub fn xreadgroup_only(option: &str) -> String {
    format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.")
}

/// A malformed minimum idle time for `command`, `XCLAIM` or `XAUTOCLAIM`.
#[must_use]
pub fn invalid_min_idle(command: &str) -> String {
    format!("ERR Invalid min-idle-time argument for {command}")
}

/// A malformed argument of `option` (`IDLE`, `TIME`, `RETRYCOUNT`) for `XCLAIM`.
#[must_use]
pub fn invalid_claim_argument(option: &str) -> String {
    format!("ERR Invalid {option} option argument for XCLAIM")
}

/// `XCLAIM` with an option it does not know.
#[must_use]
pub fn unknown_claim_option(option: &[u8]) -> String {
    format!("ERR Unrecognized XCLAIM option '{}'", quoted(option, usize::MAX))
}

/// No such key or group, as `XPENDING`, `XCLAIM`, `XAUTOCLAIM` say it.
#[must_use]
pub fn no_group(key: &[u8], group: &[u8]) -> String {
    let (key, group) = (quoted(key, usize::MAX), quoted(group, usize::MAX));
    format!("NOGROUP No such key '{key}' or consumer group '{group}'")
}

/// No such key or group, as `XREADGROUP` says it.
#[must_use]
pub fn no_group_to_read(key: &[u8], group: &[u8]) -> String {
    format!("{} in XREADGROUP with GROUP option", no_group(key, group))
}

/// No such group of an existing key, as `XGROUP` and `XINFO CONSUMERS` say it.
#[must_use]
pub fn no_group_of_key(key: &[u8], group: &[u8]) -> String {
    let (key, group) = (quoted(key, usize::MAX), quoted(group, usize::MAX));
    format!("NOGROUP No such consumer group '{group}' for key name '{key}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_names_are_redis_s() {
        assert_eq!(no_group(b"s", b"nog"), "NOGROUP No such key 's' or consumer group 'nog'");
        assert_eq!(
            no_group_to_read(b"s", b"nog"),
            "NOGROUP No such key 's' or consumer group 'nog' in XREADGROUP with GROUP option"
        );
        assert_eq!(no_group_of_key(b"s", b"nog"), "NOGROUP No such consumer group 'nog' for key name 's'");
        assert_eq!(unknown_claim_option(b"NOPE"), "ERR Unrecognized XCLAIM option 'NOPE'");
        assert_eq!(invalid_min_idle("XCLAIM"), "ERR Invalid min-idle-time argument for XCLAIM");
        assert_eq!(invalid_claim_argument("IDLE"), "ERR Invalid IDLE option argument for XCLAIM");
        assert_eq!(
            xreadgroup_only("NOACK"),
            "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."
        );
    }

    #[test]
    fn continued_texts_have_single_blanks() {
        for text in [XREADGROUP_LAST_ID, XREADGROUP_TOP_ID, XGROUP_NEEDS_KEY] {
            assert!(!text.contains("  "), "{text}");
        }
    }
}
