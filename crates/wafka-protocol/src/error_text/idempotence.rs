//! The texts of idempotent producing: `XADD … IDMP`, `XCFGSET`.

/// `IDMP` or `IDMPAUTO` with an id of the producer's choice.
pub const AUTO_ID_ONLY: &str = "ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs";
/// Both of them, or one of them twice.
pub const TWICE: &str = "ERR syntax error, IDMP/IDMPAUTO specified multiple times";
/// `IDMP` with an empty producer id.
pub const IDMP_NO_PRODUCER: &str = "ERR syntax error, IDMP requires a non-empty producer ID";
/// `IDMP` with an empty idempotent id.
pub const IDMP_NO_IID: &str = "ERR syntax error, IDMP requires a non-empty idempotent ID";
/// `IDMPAUTO` with an empty producer id.
pub const IDMPAUTO_NO_PRODUCER: &str = "ERR syntax error, IDMPAUTO requires a non-empty producer ID";
/// `XCFGSET` with nothing to set.
pub const NO_PARAMETER: &str = "ERR At least one parameter must be specified";
/// `XCFGSET IDMP-DURATION` out of its range.
pub const DURATION_RANGE: &str = "ERR IDMP-DURATION must be between 1 and 86400 seconds";
/// `XCFGSET IDMP-MAXSIZE` out of its range.
pub const MAXSIZE_RANGE: &str = "ERR IDMP-MAXSIZE must be between 1 and 10000 entries";
