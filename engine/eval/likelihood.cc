// Sequences, the streamed forward, and the figures.
#include "engine/eval/likelihood.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::int64_t kTokensAtOnce = 65536;  // hidden states of so many are in memory
constexpr std::int64_t kTokensPerBatch = 2048, kRowsPerHead = 128;

// A token to be scored: what stands before it ends at `position`.
struct Scored {
  std::int64_t position;
  std::int32_t token;
  std::size_t item, candidate;
};

struct Sequence {
  std::vector<std::int32_t> ids;
  std::vector<Scored> scored;
};

// One sequence a candidate, or one for all that differ in their last token alone.
std::vector<Sequence> sequences_of(const std::vector<ChoiceItem>& items, const Tokenizer& tokenizer) {
  std::vector<Sequence> sequences;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto prompt = tokenizer.encode(items[i].prompt, true);
    std::vector<Sequence> own;
    for (std::size_t c = 0; c < items[i].candidates.size(); ++c) {
      Sequence sequence{tokenizer.encode(items[i].prompt + items[i].candidates[c], true), {}};
      if (sequence.ids.size() < 2)
        throw Error(ErrorCode::kInvalidArgument, "EMPTY_TEXT",
                    "question " + std::to_string(i + 1) + " has no text");
      const auto first = std::clamp<std::size_t>(prompt.size(), 1, sequence.ids.size() - 1);
      for (std::size_t at = first; at < sequence.ids.size(); ++at)
        sequence.scored.push_back({static_cast<std::int64_t>(at) - 1, sequence.ids[at], i, c});
      sequence.ids.pop_back();  // nothing is asked after the last
      own.push_back(std::move(sequence));
    }
    const bool shared =
        std::all_of(own.begin(), own.end(), [&](const Sequence& s) { return s.ids == own[0].ids; });
    for (std::size_t c = 1; shared && c < own.size(); ++c)
      own[0].scored.insert(own[0].scored.end(), own[c].scored.begin(), own[c].scored.end());
    if (shared) own.resize(1);
    std::move(own.begin(), own.end(), std::back_inserter(sequences));
  }
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const Sequence& a, const Sequence& b) { return a.ids.size() < b.ids.size(); });
  return sequences;
}

// Neighbours of about one length, padded behind to the longest: a causal model does not see that.
struct Batch {
  std::size_t first, count;
  std::int64_t width;
};

std::vector<Batch> batches_of(const std::vector<Sequence>& sequences) {
  std::vector<Batch> batches;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto width = static_cast<std::int64_t>(sequences[i].ids.size());
    if (batches.empty() || static_cast<std::int64_t>(batches.back().count + 1) * width > kTokensPerBatch)
      batches.push_back({i, 0, width});
    ++batches.back().count;
    batches.back().width = width;
  }
  return batches;
}

at::Tensor padded_ids(const std::vector<Sequence>& sequences, const Batch& batch) {
  at::Tensor ids = at::zeros({static_cast<std::int64_t>(batch.count), batch.width}, at::kLong);
  for (std::size_t i = 0; i < batch.count; ++i) {
    const auto& row = sequences[batch.first + i].ids;
    auto* const out = ids.data_ptr<std::int64_t>() + static_cast<std::int64_t>(i) * batch.width;
    std::copy(row.begin(), row.end(), out);
  }
  return ids;
}

class Scorer {
 public:
  Scorer(Model& model, const std::vector<Sequence>& sequences, std::vector<std::vector<double>>& sums,
         const std::function<void(std::size_t)>& done)
      : model_(model), sequences_(sequences), sums_(sums), done_(done) {}

  void run() {
    const auto batches = batches_of(sequences_);
    for (std::size_t first = 0; first < batches.size();) {
      std::int64_t tokens = 0;
      std::size_t end = first;
      while (end < batches.size() && (end == first || tokens < kTokensAtOnce)) {
        tokens += static_cast<std::int64_t>(batches[end].count) * batches[end].width;
        ++end;
      }
      score({batches.begin() + static_cast<std::ptrdiff_t>(first),
             batches.begin() + static_cast<std::ptrdiff_t>(end)});
      first = end;
    }
  }

 private:
  void score(const std::vector<Batch>& batches) {
    std::vector<at::Tensor> hidden;
    {
      const DecodedLayers decoded(model_.embedding_layers(), at::kFloat);
      for (const auto& batch : batches)
        hidden.push_back(model_.embed(padded_ids(sequences_, batch).to(model_.device()), at::kFloat));
    }
    for (std::size_t block = 0; block < model_.block_count(); ++block) {
      const DecodedLayers decoded(model_.block_layers(block), at::kFloat);
      for (auto& h : hidden) h = model_.run_block(block, h, {});
      done_(0);
    }
    const DecodedLayers decoded(model_.head_layers(), at::kFloat);
    for (std::size_t b = 0; b < batches.size(); ++b) add(batches[b], model_.final_norm(hidden[b]));
  }

  // Adds the scored tokens of a batch, states [sequences, width, hidden].
  void add(const Batch& batch, const at::Tensor& states) {
    std::vector<std::int64_t> rows, tokens;
    std::vector<const Scored*> scored;
    for (std::size_t i = 0; i < batch.count; ++i)
      for (const auto& s : sequences_[batch.first + i].scored) {
        rows.push_back(static_cast<std::int64_t>(i) * batch.width + s.position);
        tokens.push_back(s.token);
        scored.push_back(&s);
      }
    const auto device = model_.device();
    const at::Tensor index = at::tensor(rows).to(device), next = at::tensor(tokens).to(device),
                     flat = states.reshape({-1, states.size(-1)});
    for (std::int64_t start = 0; start < index.size(0); start += kRowsPerHead) {
      const auto count = std::min(kRowsPerHead, index.size(0) - start);
      const auto logits = model_.head(flat.index_select(0, index.narrow(0, start, count)));
      const auto found = at::log_softmax(logits, -1)
                             .gather(1, next.narrow(0, start, count).unsqueeze(1))
                             .to(at::kCPU, at::kDouble);
      for (std::int64_t i = 0; i < count; ++i) {
        const Scored& s = *scored[static_cast<std::size_t>(start + i)];
        sums_[s.item][s.candidate] += found[i].item<double>();
      }
    }
    done_(batch.count);
  }

  Model& model_;
  const std::vector<Sequence>& sequences_;
  std::vector<std::vector<double>>& sums_;
  const std::function<void(std::size_t)>& done_;
};

std::size_t characters(const std::string& utf8) {
  return static_cast<std::size_t>(std::count_if(
      utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// The candidate of the highest score, by item: '0' for the first ...
std::string answers_of(const std::vector<ChoiceItem>& items, const std::vector<std::vector<double>>& scores,
                       bool by_character) {
  std::string answers;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto score = [&](std::size_t c) {
      const double length = static_cast<double>(characters(items[i].candidates[c]) - 1);  // without the space
      return by_character ? scores[i][c] / std::max(1.0, length) : scores[i][c];
    };
    std::size_t best = 0;
    for (std::size_t c = 1; c < scores[i].size(); ++c)
      if (score(c) > score(best)) best = c;
    answers += static_cast<char>('0' + best);
  }
  return answers;
}

bool right(const std::vector<ChoiceItem>& items, const std::string& answers, std::size_t i) {
  return answers[i] == static_cast<char>('0' + items[i].answer);
}

EvaluationRow accuracy_row(const std::string& suite, const std::string& metric,
                           const std::vector<ChoiceItem>& items, const std::string& answers) {
  EvaluationRow row;
  row.suite = suite;
  row.metric = metric;
  row.n = items.size();
  std::map<std::string, std::pair<int, int>> groups;
  double sum = 0, chance = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const bool hit = right(items, answers, i);
    sum += hit;
    chance += 1.0 / static_cast<double>(items[i].candidates.size());
    if (items[i].group.empty()) continue;
    groups[items[i].group].first += hit;
    ++groups[items[i].group].second;
  }
  const double n = static_cast<double>(items.size());
  row.value = sum / n;
  row.standard_error = std::sqrt(row.value * (1 - row.value) / n);
  row.details = {{"answers", answers}, {"chance", chance / n}};
  for (const auto& [group, counts] : groups) row.details["groups"][group] = {counts.first, counts.second};
  return row;
}

// Of the accuracy, paired by item.
EvaluationRow change_row(const EvaluationRow& after, const std::vector<ChoiceItem>& items,
                         const std::string& dense) {
  const auto answers = after.details.at("answers").get<std::string>();
  std::uint64_t lost = 0, gained = 0, equal = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    lost += right(items, dense, i) && !right(items, answers, i);
    gained += !right(items, dense, i) && right(items, answers, i);
    equal += dense[i] == answers[i];
  }
  const double n = static_cast<double>(items.size()),
               mean = (static_cast<double>(gained) - static_cast<double>(lost)) / n;
  const double variance = static_cast<double>(gained + lost) / n - mean * mean;
  EvaluationRow row;
  row.suite = after.suite;
  row.metric = after.metric + "_change";
  row.n = items.size();
  row.value = mean;
  row.standard_error = std::sqrt(std::max(0.0, variance) / n);
  row.details = {{"right_to_wrong", lost},
                 {"wrong_to_right", gained},
                 {"mcnemar_p", mcnemar_p(lost, gained)},
                 {"equal_answers", static_cast<double>(equal) / n}};
  return row;
}

}  // namespace

double mcnemar_p(std::uint64_t a, std::uint64_t b) {
  const auto n = static_cast<double>(a + b);
  double p = 0;
  for (std::uint64_t k = 0; k <= std::min(a, b); ++k) {
    const auto x = static_cast<double>(k);
    p += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) - n * std::log(2.0));
  }
  return std::min(1.0, 2 * p);
}

std::vector<std::vector<double>> candidate_likelihoods(Model& model, const Tokenizer& tokenizer,
                                                       const std::vector<ChoiceItem>& items,
                                                       Progress& progress) {
  const auto sequences = sequences_of(items, tokenizer);
  std::vector<std::vector<double>> sums;
  for (const auto& item : items) sums.emplace_back(item.candidates.size(), 0.0);
  std::size_t done = 0;
  const auto step = [&](std::size_t count) {
    done += count;
    progress.report(done, sequences.size(), "sequences");
  };
  Scorer(model, sequences, sums, step).run();
  for (const auto& item : sums)
    for (const double sum : item)
      if (!std::isfinite(sum))
        throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the model's logits are not finite", "",
                    "A weight or an activation overflowed.");
  return sums;
}

std::vector<EvaluationRow> score_choices(const std::string& suite, const std::string& task,
                                         const std::vector<ChoiceItem>& items, EvaluationInput& input) {
  const auto scores = candidate_likelihoods(input.model, input.tokenizer, items, input.progress);
  const bool lengths_differ = std::any_of(items.begin(), items.end(), [](const ChoiceItem& item) {
    return std::any_of(item.candidates.begin(), item.candidates.end(), [&](const std::string& candidate) {
      return characters(candidate) != characters(item.candidates[0]);
    });
  });
  std::vector<std::vector<double>> reference_scores;
  const auto dense_answers = [&](const std::string& metric, bool by_character) {
    for (const auto& row : input.before)
      if (row.metric == metric) return json_at<std::string>(row.details, "answers", "details");
    if (reference_scores.empty())
      reference_scores = candidate_likelihoods(*input.reference, input.tokenizer, items, input.progress);
    return answers_of(items, reference_scores, by_character);
  };
  std::vector<EvaluationRow> rows;
  for (const bool by_character : {false, true}) {
    if (by_character && !lengths_differ) continue;
    const std::string metric = task + (by_character ? "_accuracy_norm" : "_accuracy");
    rows.push_back(accuracy_row(suite, metric, items, answers_of(items, scores, by_character)));
    if (input.reference) rows.push_back(change_row(rows.back(), items, dense_answers(metric, by_character)));
  }
  return rows;
}

}  // namespace wring
