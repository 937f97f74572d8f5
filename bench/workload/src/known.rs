//! Every option name that fio knows, built here or not.
//!
//! What must always hold: a name here is told apart from a misspelling, and no more: what works
//! is in [`crate::options`] only. A test asks an installed fio for its names and wants each
//! found.

/// Options of the core of fio 3.33 to 3.42 that [`crate::options`] has not, aliases included.
const CORE: &str = "\
allow_mounted_write apptag apptag_mask atomic block_error_percentiles blocksize_unaligned \
bs_is_seq_rand bs_unaligned cgroup cgroup_nodelete cgroup_weight dataplacement dedupe_global \
dedupe_working_set_percentage dp_scheme error_dump exec_postrun exec_prerun fdp fdp_pli \
fdp_pli_select fileoffset flow_watermark gid ignore_error ignore_zone_limits \
ioscheduler ioscheduler_switch job_max_open_zones job_start_clock_id lockfile lockmem \
log_alternate_epoch log_alternate_epoch_clock_id log_issue_time log_prio log_window_value \
max_open_zones merge_blktrace_file merge_blktrace_iters merge_blktrace_scalars num_range opendir \
percentage_sequential pre_read profile read_beyond_wp recover_zbd_write_error spr_cs \
spr_num_regions spr_op sprandom ss_interval steadystate_check_interval thinkcycles trim_backlog \
trim_backlog_batch trim_percentage trim_verify_zero uid unique_filename unit_base \
unlink_each_loop verify_header_seed verify_pattern_interval verify_state_load \
verify_write_sequence write_barrier write_iolog zone_reset_frequency zone_reset_threshold \
zonecapacity comm data_placement end_syncfs ramp_size rwmixcycle write_zone_remainder";

/// Options that belong to one engine of fio or another.
const ENGINE: &str = "\
arguments bindname brick busy_poll chunk_size clientname clustername cmd_type cmdprio \
cmdprio_bssplit cmdprio_class cmdprio_hint cmdprio_percentage conf cont cpuchunks cpuload \
cpumode cuda_io deac direct_write_to_pmem donorname exit_on_io_done force_async gpu_dev_id \
gpu_dev_ids grace_time hdfsdirectory hipri hipri_percentage hostname http_host http_mode \
http_object_mode http_pass http_s3_key http_s3_keyid http_s3_region http_s3_security_token \
http_s3_sse_customer_algorithm http_s3_sse_customer_key http_s3_storage_class \
http_swift_auth_token http_user http_verbose https inplace interface libblkio_driver \
libblkio_num_entries libblkio_path libblkio_pre_connect_props libblkio_pre_start_props \
libblkio_queue_size libblkio_vectored libblkio_wait_mode libblkio_write_zeroes_on_trim listen \
md_per_io_size mss namenode nfs_url nodelay nowait object_class pi_act pi_chk pingpong \
plid_select plids pool port program protocol rbdname readfua serverip single-instance \
single_instance skip_bad sg_write_mode sqthread_poll sqthread_poll_cpu stat_type std_redirect \
stream_id svcl thp touch_objects ttl uncached uri verb verify_mode volume window_size write_mode \
writefua xnvme_admin xnvme_async xnvme_dev_nsid xnvme_dev_subnqn xnvme_iovec xnvme_mem \
xnvme_sync";

/// Engines of fio that are not built here.
const ENGINES: &str = "\
cpp_null cpuio dev-dax dfs e4defrag exec external falloc fileoperations filecreate filedelete filestat \
ftruncate dircreate dirdelete dirstat gfapi gfapi_async guasi http ime_aio ime_psync ime_psyncv \
io_uring_cmd libblkio libcufile libhdfs libiscsi libpmem librpma_apm_client librpma_apm_server \
librpma_gpspm_client librpma_gpspm_server libzbc mmap mtd nbd net netsplice nfs pmemblk posix rados rbd \
rdma sg solarisaio splice syslet-rw windowsaio xnvme";

/// Directions of fio that are not built here.
const PATTERNS: &str = "trim randtrim trimwrite randtrimwrite";

/// Whether fio has an option of this name that is not built here.
pub(crate) fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Names of fio's options that are not built here.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CORE.split_whitespace().chain(ENGINE.split_whitespace())
}

/// Why an option is not built, where there is more to say than that.
const REASONS: &[(&str, &str)] = &[
    ("exec_prerun", RUNS_PROGRAMS),
    ("exec_postrun", RUNS_PROGRAMS),
    ("bs_unaligned", WHOLE_BLOCKS),
    ("blocksize_unaligned", WHOLE_BLOCKS),
    ("ioscheduler", "the scheduler of a disk belongs to the machine, not to a job"),
    ("uid", "a job runs as who started the program"),
    ("gid", "a job runs as who started the program"),
    ("cmdprio_percentage", NO_PRIORITY),
    ("cmdprio_bssplit", NO_PRIORITY),
    ("cmdprio", NO_PRIORITY),
    ("cmdprio_class", NO_PRIORITY),
    ("log_prio", NO_PRIORITY),
];

const RUNS_PROGRAMS: &str = "a job file does not run programs here";
const WHOLE_BLOCKS: &str = "requests are whole blocks of the device";
const NO_PRIORITY: &str = "requests carry no priority";

/// Options of fio that are refused, with the reason where there is more to say than that they are
/// not built.
pub fn refused() -> impl Iterator<Item = (&'static str, &'static str)> {
    REASONS.iter().copied()
}

/// Why an option is not built, if there is more to say than that.
pub(crate) fn why(name: &str) -> Option<&'static str> {
    REASONS.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

/// Whether fio takes this word for the option, where it is not built here.
pub(crate) fn is_known_word(option: &str, word: &str) -> bool {
    let words = match option {
        "ioengine" => ENGINES,
        "rw" => PATTERNS,
        _ => return false,
    };
    // `external:/path/to/engine.so`, `rw=trim:8`.
    let word = word.split(':').next().unwrap_or(word);
    words.split_whitespace().any(|known| known == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut all: Vec<&str> = names().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(is_known("verify_state_load") && is_known("http_host") && !is_known("iodpeth"));
    }

    #[test]
    fn reasons_are_of_names_that_are_not_built() {
        assert!(REASONS.iter().all(|(name, _)| is_known(name) && why(name).is_some()));
        assert_eq!(why("verify_state_load"), None);
    }

    #[test]
    fn words_belong_to_their_option() {
        assert!(is_known_word("ioengine", "external:/a.so") && is_known_word("rw", "trim:8"));
        assert!(!is_known_word("rw", "rbd") && !is_known_word("ioengine", "rdb"));
    }
}
