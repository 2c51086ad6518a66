// The kinds of load that `wring_bench` puts on a server.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bench/load/measure.h"

namespace wring {

// Submits until target.seconds are over, or `count` jobs where it is not 0, each under a request id of its
// own; some are sent twice, and must give the same job. Returns how many were acknowledged.
std::size_t load_submits(const Target& target, const v1::JobSpec& spec, long count);

// Each client is a worker that leases, reports, renews and ends jobs, each of which takes `job_seconds`; they
// begin evenly spread over that time. No job may be leased twice. Returns how many ended.
std::size_t load_workers(const Target& target, const std::vector<std::string>& methods, double job_seconds);

// A name and a query of jobs: its first page, one deep behind it, and those between.
using ListCase = std::pair<std::string, v1::ListJobsRequest>;
void load_lists(const Target& target, const std::vector<ListCase>& cases, int pages_deep);

// Uploads and downloads `blobs` random blobs of `blob_bytes`, and beside them what loopback and fsynced disk
// do by themselves; files in `folder`.
void load_transfers(const Target& target, std::size_t blobs, std::uint64_t blob_bytes, int parallel,
                    const std::filesystem::path& folder);

}  // namespace wring
