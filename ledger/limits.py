"""Every bound in one place: queues, frames, messages, retries, time-outs. Nothing grows without one."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
S_NS = 1_000_000_000
MS_NS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False, repr=False)  # of so many fields they take 7 ms of each start
class Limits:
    """Bounds that hold everywhere. A field's unit is its name's last word."""

    # blocks (docs/architecture.md, "Blocks")
    signed_header_bytes: int = 65_535
    payload_plain_bytes: int = 1 * MIB
    payload_pad_bytes: int = 256
    notices: int = 64
    epoch_blocks: int = 1 << 20
    epoch_ns: int = 24 * 3600 * S_NS
    keyframe_every_ns: int = 5 * S_NS
    keyframe_every_bytes: int = 1 * MIB
    keyframes_apart_ns: int = 1 * S_NS
    tick_ns: int = 100 * MS_NS
    idle_block_ns: int = 1 * S_NS
    early_close_apart_ns: int = 15 * MS_NS
    early_close_object_apart_ns: int = 8 * MS_NS
    early_close_before_tick_ns: int = 8 * MS_NS
    early_close_saved_blocks: int = 10
    clock_step_ns: int = 50 * MS_NS
    peer_future_ns: int = 2 * S_NS
    # notes
    note_bytes: int = 64 * KIB
    note_signatures: int = 64
    # manifest
    manifest_bytes: int = 64 * KIB
    boxes: int = 64
    manifests: int = 1_024
    # replication
    message_bytes: int = 2 * MIB
    fence_counter_leap: int = 1 << 20
    fence_timeout_ns: int = 1 * S_NS
    fence_retry_min_ns: int = 1 * S_NS
    fence_retry_max_ns: int = 5 * S_NS
    promise_headers_ns: int = 5 * S_NS
    second_writer_wait_ns: int = 60 * S_NS
    heads_every_ns: int = 1 * S_NS
    silence_ns: int = 2 * S_NS
    network_retry_ns: int = 5 * S_NS
    farewell_ns: int = 3 * S_NS
    unvouched_ns: int = 5 * S_NS
    duty_ns: int = 5 * S_NS
    standby_pause_min_ns: int = 2 * S_NS
    standby_pause_max_ns: int = 300 * S_NS
    standby_calm_ns: int = 600 * S_NS
    standby_retry_min_ns: int = 500 * MS_NS
    standby_retry_max_ns: int = 10 * S_NS
    range_reply_bytes: int = 64 * KIB
    relayed_reply_bytes: int = 512 * KIB
    ranges_outstanding: int = 4
    range_timeout_ns: int = 2 * S_NS
    in_flight_blocks: int = 64
    memory_lost_wait_ns: int = 1 * S_NS
    catchup_logs_per_peer: int = 1_024
    wanted_logs_per_box: int = 128
    unproved_epochs_per_box: int = 128
    catchup_backlog_blocks: int = 768
    catchup_backlog_blocks_per_box: int = 192
    payload_backlog_blocks: int = 64
    payload_backlog_blocks_per_box: int = 16
    payload_spans: int = 256
    payload_retry_min_ns: int = 2 * S_NS
    payload_retry_max_ns: int = 60 * S_NS
    out_of_order_blocks: int = 64
    out_of_order_bytes: int = 16 * MIB
    out_of_order_bytes_per_box: int = 4 * MIB
    early_keys: int = 8
    keys_asked: int = 16
    key_retry_min_ns: int = 1 * S_NS
    key_retry_max_ns: int = 30 * S_NS
    # cases (docs/cases.md)
    case_fact_chars: int = 200
    case_facts_bytes: int = 8 * KIB
    cases_announced: int = 64
    case_turns_per_tick: int = 64
    case_look_ns: int = 60 * S_NS
    case_reopen_ns: int = 24 * 3600 * S_NS
    cases_of_a_log: int = 4_096
    tail_blocks_per_day: int = 1 << 20
    epochs_per_day: int = 2_000
    peer_share_percent: int = 50
    peer_share_burst_ns: int = 200 * MS_NS
    bulk_share_percent: int = 60
    bulk_share_burst_ns: int = 2 * MS_NS
    bulk_before_tick_ns: int = 4 * MS_NS
    peer_waiting_messages: int = 512
    peer_waiting_bytes: int = 8 * MIB
    peer_queue_messages: int = 512
    peer_queue_bytes: int = 32 * MIB
    inbound_messages: int = 4_096
    # MQTT transport (docs/architecture.md, "Transport")
    mqtt_connections: int = 256
    mqtt_connections_per_box: int = 8
    mqtt_connect_bytes: int = 1 * KIB
    mqtt_control_bytes: int = 4 * KIB
    mqtt_topic_bytes: int = 256
    mqtt_client_bytes: int = 8 * MIB
    mqtt_keepalive_s: int = 5
    mqtt_handshake_s: int = 5
    mqtt_connect_s: int = 1
    mqtt_reconnect_min_ms: int = 100
    mqtt_reconnect_max_ms: int = 500
    tcp_user_timeout_ms: int = 1_000
    tcp_keepalive_s: int = 1
    bulk_idle_ns: int = 30 * S_NS
    bulk_held_messages: int = 8
    # intake and store
    intake_records: int = 65_536
    intake_bytes: int = 16 * MIB
    batch_bytes: int = 768 * KIB
    raw_record_bytes: int = 256 * KIB
    raw_record_pieces: int = 4_096
    commit_queue_blocks: int = 1_024
    commit_queue_bytes: int = 64 * MIB
    commit_queue_operations: int = 16_384
    commit_queue_blocks_per_box: int = 512
    commit_queue_bytes_per_box: int = 16 * MIB
    store_map_bytes: int = 1 << 40
    store_ahead_bytes: int = 8 * MIB
    store_grow_bytes: int = 4 * MIB
    store_boxes: int = 256
    store_read_records: int = 256
    store_read_bytes: int = 1 * MIB
    checkpoint_every_blocks: int = 600
    keyframes_kept: int = 12
    # DICOM (docs/drivers/dicom.md)
    dicom_associations: int = 16
    dicom_connections: int = 64
    dicom_request_ns: int = 10 * S_NS
    dicom_pdu_bytes: int = 256 * KIB
    dicom_message_bytes: int = 1 * MIB
    dicom_head_bytes: int = 64 * KIB
    dicom_waveform_bytes: int = 4 * MIB
    dicom_answer_ns: int = 30 * S_NS
    dicom_idle_ns: int = 300 * S_NS
    dicom_stored_ns: int = 120 * S_NS
    dicom_send_tries: int = 3
    dicom_send_retry_ns: int = 1 * S_NS
    commitments: int = 1_024
    commitment_instances: int = 8_192
    commitments_instances: int = 65_536
    commitment_look_ns: int = 1 * S_NS
    commitment_instances_looked_up: int = 2_048
    commitment_reports: int = 2
    commitment_report_ns: int = 120 * S_NS
    commitment_retry_min_ns: int = 5 * S_NS
    commitment_retry_max_ns: int = 600 * S_NS
    commitment_patience_ns: int = 600 * S_NS
    # objects (docs/objects.md)
    object_bytes: int = 64 << 30
    object_notice_entries: int = 128
    object_writers: int = 32
    object_unrecorded_ns: int = 60 * S_NS
    object_unreferenced_ns: int = 24 * 3_600 * S_NS
    object_sync_bytes: int = 8 * MIB
    object_room_look_bytes: int = 16 * MIB
    object_pulls: int = 2
    object_pieces_outstanding: int = 4
    object_piece_timeout_ns: int = 5 * S_NS
    object_retry_min_ns: int = 2 * S_NS
    object_retry_max_ns: int = 60 * S_NS
    object_look_ns: int = 1 * S_NS
    object_ask_ns: int = 5 * S_NS
    object_names_asked: int = 64
    object_wanted_rows: int = 1_024
    object_serves_of_a_peer: int = 32
    object_open_vouchers: int = 4_096
    # what a box says of itself
    self_check_every_ns: int = 1 * S_NS
    clock_unsynchronised_ns: int = 300 * S_NS
    loss_shown_ns: int = 3_600 * S_NS
    # disk and retention (docs/architecture.md, "Disk and retention")
    prune_blocks: int = 200
    drop_blocks: int = 500
    housekeeping_every_ns: int = 1 * S_NS
    retention_survey_ns: int = 60 * S_NS
    store_start_bytes: int = 64 * MIB
    disk_start_bytes: int = 1 * MIB
    room_samples: int = 61
    room_sample_ns: int = 60 * S_NS
    # state: so that a keyframe always fits beside a tick's records in one payload
    state_values: int = 2_048
    state_values_bytes: int = 256 * KIB
    state_waves: int = 64
    state_waves_bytes: int = 256 * KIB
    state_wave_ns: int = 2 * S_NS
    state_wave_pieces: int = 64
    state_others: int = 256
    state_others_bytes: int = 32 * KIB
    state_case_bytes: int = 16 * KIB
    # restore
    restore_blocks: int = 4_096
    restore_answer_ns: int = 500 * MS_NS
    restore_waiting_bytes: int = 32 * MIB
    restore_total_ns: int = 5 * S_NS
    restore_tail_ns: int = 500 * MS_NS
    restore_tails: int = 8
    console_tries: int = 1_440
    console_pause_min_ns: int = 1 * S_NS
    console_pause_max_ns: int = 60 * S_NS
    drill_first_ns: int = 600 * S_NS
    drill_retry_ns: int = 3_600 * S_NS
    drill_look_ns: int = 60 * S_NS
    # drivers and transports
    frame_bytes: int = 64 * KIB
    hl7_message_bytes: int = 1 * MIB
    push_message_bytes: int = 1 * MIB
    sdc_message_bytes: int = 4 * MIB
    sdc_requests: int = 8
    sdc_connections: int = 8
    sdc_resolve_ns: int = 1 * S_NS
    sdc_answer_ns: int = 15 * S_NS
    mllp_connections: int = 32
    mllp_idle_ns: int = 300 * S_NS
    tls_handshake_s: int = 5
    ack_timeout_ns: int = 10 * S_NS
    held_sends: int = 1_024
    duplicates_remembered: int = 16_384
    reconnect_min_ns: int = 200 * MS_NS
    reconnect_max_ns: int = 5 * S_NS
    link_write_bytes: int = 256 * KIB
    link_connect_ns: int = 5 * S_NS
    link_user_timeout_ms: int = 10_000
    tcp_pace_ns: int = 50 * MS_NS
    serial_pace_ns: int = 20 * MS_NS
    udp_receive_bytes: int = 1 * MIB
    refusals_remembered: int = 64
    losses_remembered: int = 1_024
    gaps_remembered: int = 4_096
    # configuration and the command line's socket
    configuration_bytes: int = 1 * MIB
    feeds: int = 64
    control_line_bytes: int = 4 * MIB
    control_connections: int = 16
    control_request_ns: int = 5 * S_NS
    control_reply_ns: int = 10 * S_NS
    # the page (docs/metrics.md)
    page_connections: int = 16
    page_request_bytes: int = 16 * KIB
    page_request_ns: int = 5 * S_NS
    page_answer_ns: int = 10 * S_NS
    page_linger_ns: int = 1 * S_NS
    metrics_kept_ns: int = 1 * S_NS
    metrics_refusals: int = 512
    # capture files
    capture_line_bytes: int = 4 * MIB


LIMITS = Limits()
