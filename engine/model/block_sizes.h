// Sizes that may differ by block, as config.json holds them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/json.h"

namespace wring {

// One size a block: the list `key`_per_layer where config.json has it, else `plain` for all. 0: the block has
// no such module. Throws Error(kInvalidArgument, "BAD_CONFIG") for a list of another length or sizes out of
// range.
std::vector<std::int64_t> sizes_by_block(const Json& config, const std::string& key, std::int64_t plain,
                                         std::size_t blocks);

// Equal sizes as `key` alone, so that other tools read them; else the list too, beside the largest as `key`:
// a tool that overlooks the list finds that tensors do not fit.
void set_sizes_by_block(Json& config, const std::string& key, const std::vector<std::int64_t>& sizes);

// Throws Error(kInvalidArgument, "NOT_EXPRESSIBLE") naming the first size that differs by block, for a format
// that holds one for all.
void check_equal_blocks(const Json& config, const std::string& format);

// What config.json calls the width of a head's query and key, and of its value, where a block's is less than
// head_dim: one a block.
inline constexpr const char *kQueryWidths = "qk_head_dim_per_layer", *kValueWidths = "v_head_dim_per_layer";

// Throws Error(kInvalidArgument, "NOT_EXPRESSIBLE") where there are such heads, for a format that has one
// head_dim.
void check_whole_heads(const Json& config, const std::string& format);

}  // namespace wring
