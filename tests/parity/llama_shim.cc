// llama.cpp behind three functions of plain types, for llama_parity.py: its structs differ from release to
// release.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "llama.h"

namespace {

// -log of the probability of `token`.
double negative_log_likelihood(const float* logits, int count, llama_token token) {
  const float largest = *std::max_element(logits, logits + count);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i] - largest));
  return std::log(sum) - static_cast<double>(logits[token] - largest);
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

// ids [windows * window] -> the sum of -log p over positions 1.. of each window; negative where llama.cpp
// fails.
double parity_score(void* opaque, const std::int32_t* ids, int windows, int window, int threads) {
  auto* model = static_cast<llama_model*>(opaque);
  auto params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(window);
  params.n_threads = params.n_threads_batch = threads;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = params.type_v = GGML_TYPE_F32;  // the files are compared, not roundings of the cache
  auto* context = llama_init_from_model(model, params);
  if (!context) return -1;
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  auto batch = llama_batch_init(window, 0, 1);
  double sum = 0;
  for (int w = 0; w < windows; ++w, ids += window) {
    llama_memory_clear(llama_get_memory(context), true);
    batch.n_tokens = window;
    for (int i = 0; i < window; ++i) {
      batch.token[i] = ids[i];
      batch.pos[i] = i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) return -1;
    for (int i = 0; i + 1 < window; ++i)
      sum += negative_log_likelihood(llama_get_logits_ith(context, i), vocabulary, ids[i + 1]);
  }
  llama_batch_free(batch);
  llama_free(context);
  return sum;
}

// -> how many ids; negative where `room` is too little.
int parity_tokenize(void* opaque, const char* text, int length, std::int32_t* ids, int room) {
  return llama_tokenize(llama_model_get_vocab(static_cast<llama_model*>(opaque)), text, length, ids, room,
                        false, true);
}

void parity_free(void* opaque) {
  llama_model_free(static_cast<llama_model*>(opaque));
}

}  // extern "C"
