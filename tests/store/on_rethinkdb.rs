//! The contract on a real RethinkDB. `every_test_of_the_contract_is_listed_for_rethinkdb` fails when a test of the
//! contract is not listed here.

use crate::store::{archive, contract, lease, pruning};

macro_rules! contract_on_rethinkdb {
    ($($file:ident :: $test:ident),+ $(,)?) => {
        /// The names of the tests below.
        pub(crate) const LISTED: &[&str] = &[$(stringify!($test)),+];
        $(
            #[test]
            #[ignore = "needs a RethinkDB server: scripts/test"]
            fn $test() {
                contract::with_rethinkdb($file::$test);
            }
        )+
    };
}

contract_on_rethinkdb! {
    contract::empty_store_has_nothing,
    contract::commit_is_appended_to_its_expected_head,
    contract::append_to_another_head_conflicts_and_writes_nothing,
    contract::concurrent_appends_have_one_winner_each,
    contract::events_are_read_in_dense_order_page_by_page,
    contract::read_events_decode_to_written_events,
    contract::local_and_remote_reads_agree,
    contract::each_filter_finds_its_events,
    contract::times_are_compared_beyond_microseconds,
    contract::filters_combine_alike_in_every_store,
    contract::idempotency_records_are_durable_with_their_commit_and_only_with_it,
    contract::old_idempotency_records_are_pruned_and_the_log_stays_whole,
    contract::last_event_until_a_time_is_found,
    contract::snapshots_are_stored_found_replaced_and_dropped,
    contract::idempotency_records_are_found_by_their_events,
    contract::event_text_comes_back_byte_for_byte,
    contract::rows_are_written_read_replaced_and_removed,
    contract::older_tables_never_overwrite_newer_ones,
    contract::dropping_tables_keeps_the_log,
    contract::large_commit_is_complete,
    contract::readers_never_see_part_of_a_commit,
    contract::cursor_is_at_its_last_position,
    archive::pruned_events_are_moved_as_their_digests,
    pruning::pruned_events_are_skipped_and_the_log_stays_valid,
    pruning::only_node_observations_are_pruned,
    lease::first_writer_gets_the_lease,
    lease::each_lease_version_has_one_winner,
    lease::waiting_for_a_commit_ends_with_the_commit_or_the_timeout,
}
