//! Owners and leases that cannot be.

use std::ptr;

use wafka_plugin_abi::{HolderSink, lease};

use super::*;

#[test]
fn an_epoch_or_a_time_that_cannot_be_is_an_error() {
    let after = |before: Vec<Said>, said: Said, expected: &str| {
        let count = before.len();
        let (_storage, ownership) = answering(owned(), before.into_iter().chain([said]).collect());
        for _ in 0..count {
            ownership.acquire(&us()).unwrap();
        }
        assert_faulty(ownership.acquire(&us()), expected);
    };
    after(vec![], ours(0, 3000), "the lease is of epoch 0, expected one after 0");
    after(vec![ours(4, 3000)], ours(3, 3000), "the lease is of epoch 3, expected one after 4");
    let other = || held(holder("them", "", 5, 0));
    after(vec![ours(4, 3000), other()], ours(4, 3000), "the lease is of epoch 4, expected one after 4");
    after(vec![], ours(1, 99), "the lease lasts 99ms, expected 100ms to 3600s");
    after(vec![], ours(1, 3_600_001), "expected 100ms to 3600s");
    after(vec![], held(holder("", "", 1, 0)), "id has 0 bytes, expected 1 to 256");
    after(vec![], held(holder(&"x".repeat(257), "", 1, 0)), "id has 257 bytes");
    after(vec![], held(holder("x", &"y".repeat(257), 1, 0)), "address has 257 bytes");
    after(vec![], held(holder("x\r\n+OK", "", 1, 0)), "id is 'x\\r\\n+OK'");
    after(vec![], held(holder("x", "", 1, 3_600_001)), "expected at most 3600s");
    after(vec![], held(holder("x", "", 0, 1)), "x has it in epoch 0, expected one after 0");
    after(vec![ours(4, 3000)], held(holder("us", "", 4, 1)), "us has it in epoch 4, expected one after 4");
}

#[test]
fn a_renewal_that_cannot_be_is_an_error() {
    let renewed = || Said::Renewed(Renewed::Ours);
    let unexpected = "it renewed a lease that this server does not have";
    let (_storage, ownership) = answering(owned(), vec![renewed()]);
    assert_faulty(ownership.renew(), unexpected);
    let (_storage, ownership) = answering(owned(), vec![ours(1, 3000), lost(None), renewed()]);
    ownership.acquire(&us()).unwrap();
    ownership.renew().unwrap();
    assert_faulty(ownership.renew(), unexpected);
    let (_storage, ownership) = answering(owned(), vec![ours(1, 3000), Said::Released, renewed()]);
    ownership.acquire(&us()).unwrap();
    ownership.release().unwrap();
    assert_faulty(ownership.renew(), unexpected);
    let (_storage, ownership) = answering(owned(), vec![ours(2, 3000), lost(Some(holder("them", "", 2, 1)))]);
    ownership.acquire(&us()).unwrap();
    // Who has it is not believed; that it is lost is.
    assert_eq!(ownership.renew().unwrap(), Renewed::Lost(None));
}

/// What the SDK does not let an author say.
#[test]
fn what_is_no_answer_is_an_error() {
    unsafe extern "C" fn nothing(
        _: *mut c_void,
        _: *const abi::Owner,
        _: *mut abi::Lease,
        _: *const HolderSink,
        _: *mut ErrorOut,
    ) -> u32 {
        status::OK
    }
    unsafe extern "C" fn nobody(
        _: *mut c_void,
        _: *const abi::Owner,
        told: *mut abi::Lease,
        _: *const HolderSink,
        _: *mut ErrorOut,
    ) -> u32 {
        // SAFETY: the arguments are the host's.
        unsafe { (*told).state = lease::OTHERS };
        status::OK
    }
    unsafe extern "C" fn unknown(
        _: *mut c_void,
        state: *mut u32,
        _: *const HolderSink,
        _: *mut ErrorOut,
    ) -> u32 {
        // SAFETY: the arguments are the host's.
        unsafe { *state = 77 };
        status::OK
    }
    unsafe extern "C" fn null(
        _: *mut c_void,
        state: *mut u32,
        sink: *const HolderSink,
        _: *mut ErrorOut,
    ) -> u32 {
        // SAFETY: the arguments are the host's.
        unsafe {
            *state = lease::OTHERS;
            (*sink).put.expect("a sink")((*sink).ctx, ptr::null());
        }
        status::OK
    }
    unsafe extern "C" fn two(
        _: *mut c_void,
        state: *mut u32,
        sink: *const HolderSink,
        _: *mut ErrorOut,
    ) -> u32 {
        let id = Bytes::new(b"them");
        let told = abi::Holder { owner: abi::Owner { id, address: id }, epoch: 1, remaining_nanos: 1 };
        // SAFETY: the arguments are the host's.
        unsafe {
            *state = lease::OTHERS;
            for _ in 0..2 {
                (*sink).put.expect("a sink")((*sink).ctx, &raw const told);
            }
        }
        status::OK
    }
    unsafe extern "C" fn no_text(
        _: *mut c_void,
        state: *mut u32,
        sink: *const HolderSink,
        _: *mut ErrorOut,
    ) -> u32 {
        let (id, address) = (Bytes::new(b"them"), Bytes::new(b"\xff:1"));
        let told = abi::Holder { owner: abi::Owner { id, address }, epoch: 1, remaining_nanos: 1 };
        // SAFETY: the arguments are the host's.
        unsafe {
            *state = lease::OTHERS;
            (*sink).put.expect("a sink")((*sink).ctx, &raw const told);
        }
        status::OK
    }
    for (function, said) in [
        (nothing as unsafe extern "C" fn(_, _, _, _, _) -> u32, "the lease is in state 0, expected 1 (ours)"),
        (nobody, "another has the lease, expected to be told who"),
    ] {
        let (_storage, ownership) = answering(StorageVtable { acquire: Some(function), ..owned() }, vec![]);
        assert_faulty(ownership.acquire(&us()), said);
    }
    let (_storage, ownership) = answering(StorageVtable { renew: Some(unknown), ..owned() }, vec![]);
    assert_faulty(ownership.renew(), "the lease is in state 77");
    for function in [null as unsafe extern "C" fn(_, _, _, _) -> u32, two, no_text] {
        let (_storage, ownership) = answering(StorageVtable { renew: Some(function), ..owned() }, vec![]);
        assert_eq!(ownership.renew().unwrap(), Renewed::Lost(None));
    }
}
