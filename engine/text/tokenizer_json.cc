// Reads tokenizer.json, the format of Hugging Face `tokenizers`: the components that Wring knows, each by its
// name.
#include <functional>

#include "common/error.h"
#include "common/text.h"
#include "engine/text/pipeline.h"

namespace wring {
namespace {

[[noreturn]] void refuse(const std::string& field, const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER", message, field);
}

[[noreturn]] void unsupported(const std::string& field, const std::string& what,
                              const std::vector<std::string>& supported) {
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER",
              what + " is not supported; supported here: " + join(supported, ", "), field);
}

// A value inside tokenizer.json and its path, for errors. The document outlives it.
class Node {
 public:
  Node(const Json* json, std::string path) : json_(json), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  bool present() const { return json_ && !json_->is_null(); }
  bool is_string() const { return present() && json_->is_string(); }
  bool is_array() const { return present() && json_->is_array(); }

  Node member(const char* key) const {
    if (!present() || !json_->is_object()) refuse(path_, "should be an object");
    const auto found = json_->find(key);
    return {found == json_->end() ? nullptr : &*found, path_ + "." + key};
  }

  template <typename T>
  T as() const {
    if (!present()) refuse(path_, "is missing");
    try {
      return json_->get<T>();
    } catch (const Json::exception& e) {
      refuse(path_, std::string("is of the wrong type: ") + e.what());
    }
  }
  std::string text(const char* key) const { return member(key).as<std::string>(); }
  bool flag(const char* key, bool fallback) const {
    const auto node = member(key);
    return node.present() ? node.as<bool>() : fallback;
  }
  std::int64_t integer() const {
    if (!present() || !json_->is_number_integer()) refuse(path_, "should be an integer");
    return json_->get<std::int64_t>();
  }
  std::vector<Node> items() const {
    if (!is_array()) refuse(path_, "should be a list");
    std::vector<Node> nodes;
    nodes.reserve(json_->size());
    for (std::size_t i = 0; i < json_->size(); ++i)
      nodes.emplace_back(&(*json_)[i], path_ + "[" + std::to_string(i) + "]");
    return nodes;
  }
  const Json& object() const {
    if (!present() || !json_->is_object()) refuse(path_, "should be an object");
    return *json_;
  }

 private:
  const Json* json_;
  std::string path_;
};

constexpr int kDeepestSequence = 8;

// The components of `node`, nested sequences opened, in order. `list` is the sequence's member that holds
// them.
void flatten(const Node& node, const char* list, int depth, std::vector<Node>& out) {
  if (!node.present()) return;
  if (node.text("type") != "Sequence") return out.push_back(node);
  if (depth == kDeepestSequence) refuse(node.path(), "sequences are nested too deeply");
  for (const auto& item : node.member(list).items()) flatten(item, list, depth + 1, out);
}

std::vector<Node> components(const Node& node, const char* list) {
  std::vector<Node> nodes;
  flatten(node, list, 0, nodes);
  return nodes;
}

NormalizerStep normalizer_step(const Node& node) {
  const auto type = node.text("type");
  if (type == "NFC") return NormalForm::kNfc;
  if (type == "NFD") return NormalForm::kNfd;
  if (type == "NFKC") return NormalForm::kNfkc;
  if (type == "NFKD") return NormalForm::kNfkd;
  if (type == "Lowercase") return LowercaseStep{};
  if (type == "StripAccents") return StripAccentsStep{};
  if (type == "BertNormalizer") {
    const bool lowercase = node.flag("lowercase", true);
    return BertStep{node.flag("clean_text", true), node.flag("handle_chinese_chars", true),
                    node.flag("strip_accents", lowercase), lowercase};
  }
  unsupported(node.path() + ".type", "the normalizer '" + type + "'",
              {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer", "Sequence"});
}

SplitBehavior split_behavior(const Node& node) {
  const auto name = node.as<std::string>();
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  unsupported(node.path(), "the behavior '" + name + "'",
              {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"});
}

SplitStep split_step(const Node& node) {
  const auto pattern = node.member("pattern");
  const auto regex = pattern.member("Regex"), literal = pattern.member("String");
  if (!regex.present() && !literal.present()) refuse(pattern.path(), "has neither Regex nor String");
  return {regex.present() ? Pattern::regex(regex.as<std::string>(), regex.path())
                          : Pattern::literal(literal.as<std::string>(), literal.path()),
          split_behavior(node.member("behavior")), node.flag("invert", false)};
}

// Appends what `node` does; true where it is the step to bytes, after which nothing may follow.
bool add_pre_tokenizer_steps(const Node& node, std::vector<PreTokenizerStep>& steps) {
  const auto type = node.text("type");
  if (type == "ByteLevel") {
    if (node.flag("add_prefix_space", true)) steps.emplace_back(PrefixSpaceStep{});
    if (node.flag("use_regex", true)) steps.emplace_back(SplitStep{Pattern::regex(kGpt2Words, node.path())});
    return true;
  }
  if (type == "Split") {
    steps.emplace_back(split_step(node));
  } else if (type == "Digits") {
    const bool individual = node.flag("individual_digits", false);
    steps.emplace_back(SplitStep{Pattern::regex(R"(\p{N})", node.path()),
                                 individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
  } else if (type == "BertPreTokenizer") {
    steps.emplace_back(BertSplitStep{});
  } else {
    unsupported(node.path() + ".type", "the pre-tokenizer '" + type + "'",
                {"ByteLevel", "Split", "Digits", "BertPreTokenizer", "Sequence"});
  }
  return false;
}

// `byte_level`: the model reads bytes, so the last step must be ByteLevel; else none may be.
PreTokenizer pre_tokenizer(const Node& node, bool byte_level) {
  std::vector<PreTokenizerStep> steps;
  bool reached_bytes = false;
  for (const auto& component : components(node, "pretokenizers")) {
    if (reached_bytes)
      unsupported(component.path(), "a step after ByteLevel", {"ByteLevel as the last step"});
    reached_bytes = add_pre_tokenizer_steps(component, steps);
  }
  if (byte_level && !reached_bytes) {
    unsupported(node.path(), "BPE without a ByteLevel pre-tokenizer (SentencePiece vocabularies)",
                {"byte-level BPE"});
  }
  if (!byte_level && reached_bytes)
    unsupported(node.path(), "WordPiece over bytes", {"WordPiece over characters"});
  return PreTokenizer(std::move(steps));
}

Vocabulary vocabulary(const Node& node) {
  Vocabulary tokens;
  for (const auto& [token, id] : node.object().items()) {
    const auto path = node.path() + "['" + token + "']";
    tokens.add(token, Node(&id, path).integer(), path);
  }
  if (tokens.size() == 0) refuse(node.path(), "the vocabulary is empty");
  return tokens;
}

std::vector<AddedToken> added_tokens(const Node& node, Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  if (!node.present()) return tokens;
  for (const auto& item : node.items()) {
    AddedToken token{item.text("content"), 0};
    token.special = item.flag("special", false);
    token.normalized = item.flag("normalized", !token.special);
    token.single_word = item.flag("single_word", false);
    token.lstrip = item.flag("lstrip", false);
    token.rstrip = item.flag("rstrip", false);
    if (token.content.empty()) continue;
    if (!vocabulary.id(token.content)) {
      const auto id = item.member("id");
      vocabulary.add(token.content, id.integer(), id.path());
    }
    token.id = *vocabulary.id(token.content);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

Bpe::Merge merge(const Node& node) {
  if (node.is_array()) {
    const auto parts = node.as<std::vector<std::string>>();
    if (parts.size() != 2) refuse(node.path(), "a merge should have two parts");
    return {parts[0], parts[1]};
  }
  const auto text = node.as<std::string>();
  const auto space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    refuse(node.path(), "a merge should be two tokens with a space between, not '" + text + "'");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

std::int32_t token_named(const Node& node, const Vocabulary& vocabulary) {
  const auto name = node.as<std::string>();
  if (const auto id = vocabulary.id(name)) return *id;
  refuse(node.path(), "'" + name + "' is no token of the vocabulary");
}

Bpe bpe(const Node& model, const Vocabulary& vocabulary) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto affix = model.member(key);
    if (affix.present() && !affix.as<std::string>().empty())
      unsupported(affix.path(), "a BPE affix", {"none"});
  }
  const auto dropout = model.member("dropout");
  if (dropout.present() && dropout.as<double>() != 0) unsupported(dropout.path(), "BPE dropout", {"none"});
  if (model.flag("byte_fallback", false)) {
    unsupported(model.member("byte_fallback").path(), "byte fallback (SentencePiece vocabularies)",
                {"byte-level BPE"});
  }
  std::vector<Bpe::Merge> merges;
  const auto list = model.member("merges");
  for (const auto& item : list.items()) merges.push_back(merge(item));
  Bpe::Options options;
  options.ignore_merges = model.flag("ignore_merges", false);
  options.fuse_unknown = model.flag("fuse_unk", false);
  if (const auto unknown = model.member("unk_token"); unknown.present()) {
    options.unknown = vocabulary.id(unknown.as<std::string>());
  }
  return Bpe(vocabulary, merges, options, list.path());
}

WordPiece wordpiece(const Node& model, const Vocabulary& vocabulary) {
  WordPiece::Options options;
  if (const auto prefix = model.member("continuing_subword_prefix"); prefix.present()) {
    options.prefix = prefix.as<std::string>();
  }
  if (const auto longest = model.member("max_input_chars_per_word"); longest.present()) {
    if (longest.integer() < 0) refuse(longest.path(), "should be at least 0");
    options.maximum_word = static_cast<std::size_t>(longest.integer());
  }
  options.unknown = token_named(model.member("unk_token"), vocabulary);
  return WordPiece(vocabulary, options);
}

std::optional<WordPieceDecoder> wordpiece_decoder(const Node& node, bool byte_level) {
  const std::string type = node.present() ? node.text("type") : byte_level ? "ByteLevel" : "WordPiece";
  if (type != (byte_level ? "ByteLevel" : "WordPiece")) {
    unsupported(node.path() + ".type", "the decoder '" + type + "' of this model",
                {byte_level ? "ByteLevel" : "WordPiece"});
  }
  if (byte_level) return std::nullopt;
  WordPieceDecoder decoder{"##", false};
  if (node.present()) decoder = {node.text("prefix"), node.flag("cleanup", true)};
  return decoder;
}

std::int32_t existing_id(const Node& node, const Vocabulary& vocabulary) {
  const auto id = node.integer();
  if (id < 0 || id >= Vocabulary::kMaximumSize || !vocabulary.token(static_cast<std::int32_t>(id))) {
    refuse(node.path(), std::to_string(id) + " is the id of no token");
  }
  return static_cast<std::int32_t>(id);
}

// TemplateProcessing: what its `single` template puts before and after the text.
void read_template(const Node& node, TokenizerParts& parts) {
  const auto special = node.member("special_tokens");
  auto* side = &parts.before;
  int texts = 0;
  for (const auto& item : node.member("single").items()) {
    if (item.member("Sequence").present()) {
      side = &parts.after;
      ++texts;
      continue;
    }
    const auto name = item.member("SpecialToken").text("id");
    for (const auto& id : special.member(name.c_str()).member("ids").items()) {
      side->push_back(existing_id(id, parts.vocabulary));
    }
  }
  if (texts != 1) refuse(node.path() + ".single", "should hold the text exactly once");
}

void read_post_processor(const Node& node, TokenizerParts& parts) {
  bool has_template = false;
  for (const auto& component : components(node, "processors")) {
    const auto type = component.text("type");
    if (type == "ByteLevel") continue;  // concerns offsets only
    if (has_template) unsupported(component.path(), "a second template", {"one template"});
    has_template = true;
    if (type == "TemplateProcessing") {
      read_template(component, parts);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      const auto id = [&](const char* key) {
        const auto pair = component.member(key).items();
        if (pair.size() != 2) refuse(component.member(key).path(), "should be a token and its id");
        return token_named(pair[0], parts.vocabulary);
      };
      parts.before = {id("cls")};
      parts.after = {id("sep")};
    } else {
      unsupported(component.path() + ".type", "the post-processor '" + type + "'",
                  {"TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence"});
    }
  }
}

}  // namespace

TokenizerParts parse_tokenizer_json(const Json& json, const std::string& origin,
                                    const std::string& end_of_text) {
  const Node root(&json, origin);
  const auto model = root.member("model");
  const auto declared = model.member("type");  // old files leave it out: merges tell
  const std::string type = declared.present()                 ? declared.as<std::string>()
                           : model.member("merges").present() ? "BPE"
                                                              : "WordPiece";
  if (type != "BPE" && type != "WordPiece") {
    unsupported(model.path() + ".type", "the model '" + type + "'", {"BPE", "WordPiece"});
  }
  const bool byte_level = type == "BPE";
  TokenizerParts parts;
  parts.vocabulary = vocabulary(model.member("vocab"));
  if (byte_level) {
    parts.model.emplace(bpe(model, parts.vocabulary));
  } else {
    parts.model.emplace(wordpiece(model, parts.vocabulary));
  }
  parts.added = added_tokens(root.member("added_tokens"), parts.vocabulary);
  std::vector<NormalizerStep> steps;
  for (const auto& component : components(root.member("normalizer"), "normalizers")) {
    steps.push_back(normalizer_step(component));
  }
  parts.normalizer = Normalizer(std::move(steps));
  parts.pre_tokenizer = pre_tokenizer(root.member("pre_tokenizer"), byte_level);
  parts.wordpiece_decoder = wordpiece_decoder(root.member("decoder"), byte_level);
  read_post_processor(root.member("post_processor"), parts);
  parts.end_of_text = parts.vocabulary.id(end_of_text);
  return parts;
}

}  // namespace wring
