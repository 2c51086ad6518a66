// llama.cpp behind functions of plain types, for llama_parity.py: its structs differ from release to
// release.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "llama-cpp.h"

namespace {

// -log of the probability of `token`.
double negative_log_likelihood(const float* logits, int count, llama_token token) {
  const float largest = *std::max_element(logits, logits + count);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i] - largest));
  return std::log(sum) - static_cast<double>(logits[token] - largest);
}

// For `length` tokens at once.
llama_context_params params_for(int length, int threads) {
  auto params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(length);
  params.n_threads = params.n_threads_batch = threads;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = params.type_v = GGML_TYPE_F32;  // the files are compared, not roundings of the cache
  return params;
}

// Tokens of one sequence, the first at the position `position`; there are logits (or embeddings) of each.
bool decode(llama_context* context, const std::int32_t* ids, int count, int position) {
  auto batch = llama_batch_init(count, 0, 1);
  batch.n_tokens = count;
  for (int i = 0; i < count; ++i) {
    batch.token[i] = ids[i];
    batch.pos[i] = position + i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  const bool decoded = llama_decode(context, batch) == 0;
  llama_batch_free(batch);
  return decoded;
}

int vocabulary_of(const llama_model* model) {
  return llama_vocab_n_tokens(llama_model_get_vocab(model));
}

}  // namespace

extern "C" {

void* parity_load(const char* path) {
  llama_log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
      },
      nullptr);
  llama_backend_init();
  return llama_model_load_from_file(path, llama_model_default_params());
}

int parity_vocabulary(void* model) {
  return vocabulary_of(static_cast<llama_model*>(model));
}

int parity_width(void* model) {
  return llama_model_n_embd(static_cast<llama_model*>(model));
}

// ids [windows * window] -> the sum of -log p over positions 1.. of each window; negative where llama.cpp
// fails.
double parity_score(void* opaque, const std::int32_t* ids, int windows, int window, int threads) {
  auto* model = static_cast<llama_model*>(opaque);
  const llama_context_ptr context(llama_init_from_model(model, params_for(window, threads)));
  if (!context) return -1;
  double sum = 0;
  for (int w = 0; w < windows; ++w, ids += window) {
    llama_memory_clear(llama_get_memory(context.get()), true);
    if (!decode(context.get(), ids, window, 0)) return -1;
    for (int i = 0; i + 1 < window; ++i)
      sum +=
          negative_log_likelihood(llama_get_logits_ith(context.get(), i), vocabulary_of(model), ids[i + 1]);
  }
  return sum;
}

// ids [given + more], of which `given` are there: the rest are the most likely ones, one by one with the
// cache. logits [given + more - 1, vocabulary]: those that position 1.. was chosen by. Whether llama.cpp
// managed.
bool parity_generate(void* opaque, std::int32_t* ids, int given, int more, int threads, float* logits) {
  auto* model = static_cast<llama_model*>(opaque);
  const int vocabulary = vocabulary_of(model);
  const llama_context_ptr context(llama_init_from_model(model, params_for(given + more, threads)));
  if (!context) return false;
  for (int done = 0, count = given; done < given + more - 1; done += count, count = 1) {
    if (!decode(context.get(), ids + done, count, done)) return false;
    const float* found = llama_get_logits(context.get());
    logits = std::copy(found, found + static_cast<std::ptrdiff_t>(count) * vocabulary, logits);
    ids[done + count] =
        static_cast<std::int32_t>(std::max_element(logits - vocabulary, logits) - (logits - vocabulary));
  }
  return true;
}

// values [width]: the tokens' embeddings, pooled as the file says. Whether llama.cpp managed, and the file
// says how.
bool parity_embed(void* opaque, const std::int32_t* ids, int count, int threads, float* values) {
  auto* model = static_cast<llama_model*>(opaque);
  auto params = params_for(count, threads);
  params.embeddings = true;
  const llama_context_ptr context(llama_init_from_model(model, params));
  if (!context || !decode(context.get(), ids, count, 0)) return false;
  const float* found = llama_get_embeddings_seq(context.get(), 0);
  if (found) std::copy(found, found + llama_model_n_embd(model), values);
  return found;
}

// -> how many ids; negative where `room` is too little. `whole`: with the tokens that belong around a text.
int parity_tokenize(void* opaque, const char* text, int length, std::int32_t* ids, int room, bool whole) {
  return llama_tokenize(llama_model_get_vocab(static_cast<llama_model*>(opaque)), text, length, ids, room,
                        whole, true);
}

void parity_free(void* opaque) {
  llama_model_free(static_cast<llama_model*>(opaque));
}

}  // extern "C"
