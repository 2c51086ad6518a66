// Byte-pair merging with a queue of candidate pairs and a linked list of symbols.
#include "engine/text/bpe.h"

#include <bit>
#include <queue>

#include "common/error.h"
#include "engine/text/byte_alphabet.h"

namespace wring {
namespace {

constexpr std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

std::size_t hash_pair(std::uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15;  // Fibonacci hashing, with the high half folded in
  return pair ^ pair >> 32;
}

struct Candidate {
  std::uint32_t rank;
  std::int32_t place;   // of the left symbol
  std::int32_t merged;  // what the pair became when it was queued; it is stale where that has changed
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : place > other.place;
  }
};

std::int32_t token_of(const Vocabulary& vocabulary, const std::string& token, std::size_t merge,
                      std::string_view field) {
  if (const auto id = vocabulary.id(token)) return *id;
  throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER", "'" + token + "' is no token of the vocabulary",
              std::string(field) + "[" + std::to_string(merge) + "]");
}

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const Options& options,
         std::string_view merges_field)
    : options_(options), slots_(std::bit_ceil(2 * merges.size() + 2)) {
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary.id(spell_bytes(std::string(1, static_cast<char>(byte)))).value_or(kNone);
  }
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto pair = pair_key(token_of(vocabulary, left, rank, merges_field),
                               token_of(vocabulary, right, rank, merges_field));
    slot(pair) = {pair, static_cast<std::uint32_t>(rank),
                  token_of(vocabulary, left + right, rank, merges_field)};
  }
  if (!options_.ignore_merges) return;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const auto* token = vocabulary.token(static_cast<std::int32_t>(id));
    if (!token) continue;
    if (auto bytes = spelt_bytes(*token))
      words_.insert_or_assign(*std::move(bytes), static_cast<std::int32_t>(id));
  }
}

Bpe::Slot& Bpe::slot(std::uint64_t pair) {
  std::size_t i = hash_pair(pair) & (slots_.size() - 1);
  while (slots_[i].pair != kEmpty && slots_[i].pair != pair) i = (i + 1) & (slots_.size() - 1);
  return slots_[i];
}

const Bpe::Slot* Bpe::merge_of(std::int32_t left, std::int32_t right) const {
  const auto pair = pair_key(left, right);
  std::size_t i = hash_pair(pair) & (slots_.size() - 1);
  for (; slots_[i].pair != kEmpty; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].pair == pair) return &slots_[i];
  }
  return nullptr;
}

std::vector<Bpe::Symbol> Bpe::symbols_of(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  bool after_unknown = false;
  for (const char c : word) {
    auto id = byte_ids_[static_cast<unsigned char>(c)];
    const bool unknown = id == kNone;
    if (unknown && (!options_.unknown || (options_.fuse_unknown && after_unknown))) continue;
    if (unknown) id = *options_.unknown;
    after_unknown = unknown;
    const auto place = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, place - 1, place + 1});
  }
  if (!symbols.empty()) symbols.back().next = kNone;
  return symbols;
}

void Bpe::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const auto found = words_.find(word); found != words_.end()) return ids.push_back(found->second);
  }
  auto symbols = symbols_of(word);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](std::int32_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const auto* merge = merge_of(symbols[left].id, symbols[symbols[left].next].id);
    if (merge) queue.push({merge->rank, left, merge->merged});
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
  while (!queue.empty()) {
    const auto [rank, place, merged] = queue.top();
    queue.pop();
    auto& left = symbols[place];
    if (left.id == kNone || left.next == kNone) continue;
    auto& right = symbols[left.next];
    const auto* merge = merge_of(left.id, right.id);
    if (!merge || merge->merged != merged) continue;
    left.id = merged;
    right.id = kNone;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = place;
    consider(left.previous);
    consider(place);
  }
  for (const auto& symbol : symbols) {
    if (symbol.id != kNone) ids.push_back(symbol.id);
  }
}

}  // namespace wring
