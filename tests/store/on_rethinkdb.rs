//! The contract again, on a real RethinkDB. A test of the contract that is not listed here
//! fails `every_test_of_the_contract_is_listed_for_rethinkdb`.

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
    contract::an_empty_store_has_nothing,
    contract::a_commit_is_appended_to_the_head_that_it_expects,
    contract::an_append_to_another_head_conflicts_and_writes_nothing,
    contract::of_many_that_append_at_once_one_wins_each_place,
    contract::events_are_read_in_dense_order_page_by_page,
    contract::what_is_read_decodes_to_what_was_written,
    contract::a_log_on_this_machine_is_read_in_place_as_it_is_read_from_elsewhere,
    contract::each_filter_of_a_query_finds_its_events,
    contract::a_time_between_two_microseconds_is_before_the_second,
    contract::filters_combine_alike_in_every_store,
    contract::answers_are_kept_with_their_commit_and_only_with_it,
    contract::old_answers_are_forgotten_and_the_log_stays_whole,
    contract::the_last_event_until_a_time_is_found,
    contract::snapshots_are_kept_found_replaced_and_dropped,
    contract::answers_are_found_by_the_events_that_they_are_for,
    contract::the_text_of_an_event_comes_back_whatever_is_in_it,
    contract::rows_are_written_read_replaced_and_removed,
    contract::an_older_state_of_the_tables_never_overwrites_a_newer_one,
    contract::dropped_tables_are_empty_and_the_log_is_not,
    contract::a_large_commit_is_whole,
    contract::a_reader_never_sees_a_part_of_a_commit,
    contract::a_cursor_is_where_it_was_set_last,
    archive::what_was_pruned_goes_along_as_its_digest,
    pruning::what_is_pruned_is_passed_over_and_the_chain_holds,
    pruning::nothing_but_observations_of_nodes_is_ever_pruned,
    lease::the_lease_goes_to_whoever_is_first,
    lease::of_many_that_want_the_lease_at_once_one_gets_each_version,
    lease::who_waits_for_a_commit_hears_of_it_and_waits_no_longer_than_told,
}
