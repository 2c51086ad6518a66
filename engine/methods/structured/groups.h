// What structured methods share: which groups of a model a stage may prune, which stay within a budget, and
// the cut.
#pragma once

#include <ATen/ATen.h>

#include <set>
#include <string>
#include <vector>

#include "engine/methods/method.h"
#include "engine/model/model.h"

namespace wring {

// The heads or the FFN channels of one block, and what each of its groups is worth.
struct PrunableGroups {
  CoupledGroups groups;
  std::int64_t cost = 0;  // weights of one group
  at::Tensor scores;      // [count] fp64 on the CPU: what is worth more stays; undefined until it is scored
};

// All heads and FFNs whose every layer is targeted, in model order. Throws Error(kInvalidArgument):
// "PARTLY_TARGETED" naming a layer that is left out while others that are cut with it are not,
// "NOTHING_TO_CUT" where there is none, "NOT_SLICEABLE".
std::vector<PrunableGroups> prunable_groups(const Model& model, const std::set<const Layer*>& targets);

// The layers that read their channels.
std::set<const Layer*> readers_of(Model& model, const std::vector<PrunableGroups>& parts);

// "L3.q", "L3.ffn": the part of one block.
const std::string& name_of(const PrunableGroups& part);

// A score for each input channel [in] of the groups' reader -> one for each group: the sum over its channels.
at::Tensor sum_of_groups(const at::Tensor& channels, const PrunableGroups& part);

// How much leaves, and from where.
struct Budget {
  double ratio = 0;                             // share of the prunable weights
  bool by_block = true;                         // as much of every block, or where it costs least
  enum { kTogether, kApart } modules = kApart;  // heads and FFN channels in one list, or each with a share
  double attention_ratio = -1;  // of heads kept apart; below 0: `ratio`. The FFN gets the rest
  std::int64_t min_heads = 1,
               channel_multiple = 1;  // groups of heads that stay; FFN channels leave in such lots

  static Budget from(const Params& params);  // ratio, attention_ratio, min_keep, multiple
};

// For each of `parts`, which must be whole blocks, the groups that stay [kept] int64, rising. The worst leave
// until the weights that are gone are nearest to the budget; of equal ones the later.
std::vector<at::Tensor> choose_groups(const std::vector<PrunableGroups>& parts, const Budget& budget);

// Cuts a part of the model down. Returns its line of the report: {"layer": its reader, "block", "kv_heads" or
// "channels" kept, "of", "shape" of the reader's new weight}.
Json cut_down(Model& model, const PrunableGroups& part, const at::Tensor& kept);

// {"layers": lines, "weights_removed": of the prunable ones, "share_removed"}.
Json cut_report(std::vector<Json> lines, const std::vector<PrunableGroups>& parts,
                const std::vector<at::Tensor>& kept);

// For forecasts: a layer with as much less as the ratio says.
void shrink(Layer& layer, double ratio);

}  // namespace wring
