// C interface of the Rust library textkit: Hugging Face tokenizers, chat templates, and fetching of
// files.
//
// Owns:   objects behind tk_tokenizer and tk_template, made by *_new and freed by *_free.
// Thread: every function may be called from any thread; objects never change after *_new.
// Never:  unwinds or prints; exits only where it was asked to. Texts are UTF-8 with a length,
// without a closing zero.
#ifndef TEXTKIT_H_
#define TEXTKIT_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tk_status {
  TK_OK = 0,
  TK_INVALID = 1,  // the file, text or template is at fault
  TK_RAISED = 2,   // the template refused the conversation by raise_exception()
  TK_LIMIT = 3,    // the template ran too long or wrote too much
  TK_PANIC = 4,    // a library gave up, *error is for the log only; the object stays usable
} tk_status;

typedef struct tk_tokenizer tk_tokenizer;
typedef struct tk_template tk_template;

// A borrowed text; the callee keeps no part of it.
typedef struct tk_view {
  const char* data;
  size_t size;
} tk_view;

// Returned buffers belong to the caller, who gives them back with the matching *_free.
// Both are all zero when empty; freeing an empty one does nothing.
typedef struct tk_text {
  char* data;
  size_t size;
} tk_text;

typedef struct tk_ids {
  uint32_t* data;
  size_t size;
} tk_ids;

void tk_text_free(tk_text text);
void tk_ids_free(tk_ids ids);

// From here on an allocation that fails ends the process with this status; else it aborts.
void tk_exit_when_out_of_memory(int32_t status);

// On any status but TK_OK, *error holds the reason and the other outputs are untouched.

// ---- tokenizer ----

// What n bytes may become by the normalizer of a tokenizer.json: (n + 1) * *out at most.
tk_status tk_tokenizer_growth(tk_view json, uint64_t* out, tk_text* error);

// Reads the text of a tokenizer.json; its truncation and padding are ignored. more_tokens is empty
// or a JSON object {"id": {"content": ..., "special": ...}}: the added_tokens_decoder of
// tokenizer_config.json, of which tokens that tokenizer.json lacks are added.
tk_status tk_tokenizer_new(tk_view json, tk_view more_tokens, tk_tokenizer** out, tk_text* error);
void tk_tokenizer_free(tk_tokenizer* tokenizer);

// What each id stands for; borrowed, valid as long as the tokenizer.
typedef struct tk_vocab {
  uint32_t size;            // largest id + 1
  const uint8_t* bytes;     // all tokens, one after the other, as the bytes they add to a text
  const uint32_t* offsets;  // [size + 1]: token i is bytes[offsets[i] .. offsets[i + 1])
  const uint8_t* flags;     // [size]: TK_TOKEN_*
  uint8_t strip_space;      // 1: decoding drops one leading space of the whole text
} tk_vocab;

enum { TK_TOKEN_EXISTS = 1, TK_TOKEN_SPECIAL = 2, TK_TOKEN_ADDED = 4 };

tk_vocab tk_tokenizer_vocab(const tk_tokenizer* tokenizer);

// The id of a token by its name in tokenizer.json ("<s>", "Ġthe"), or -1.
int64_t tk_tokenizer_token_id(const tk_tokenizer* tokenizer, tk_view name);

enum {
  TK_ADD_SPECIAL = 1,    // add what the post-processor adds (BOS, EOS)
  TK_PARSE_SPECIAL = 2,  // the text of a special token becomes that token
};

tk_status tk_tokenizer_encode(const tk_tokenizer* tokenizer, tk_view text, uint32_t flags,
                              tk_ids* out, tk_text* error);

// Encodes a chat as tk_template_render wrote it, where it says has_typed: no special token has a
// character at one of these byte positions (ascending).
tk_status tk_tokenizer_encode_typed(const tk_tokenizer* tokenizer, tk_view text,
                                    const uint32_t* typed, size_t num_typed, tk_ids* out,
                                    tk_text* error);

// The contents of the special tokens: a JSON array of strings.
tk_status tk_tokenizer_special_tokens(const tk_tokenizer* tokenizer, tk_text* out, tk_text* error);

// Special tokens that a chat's messages may not write; by a tokenizer (borrowed, valid as long as
// that) or by what tk_tokenizer_special_tokens said.
typedef struct tk_guard tk_guard;
tk_status tk_tokenizer_guard(const tk_tokenizer* tokenizer, const tk_guard** out, tk_text* error);
tk_status tk_guard_new(tk_view special_tokens, tk_guard** out, tk_text* error);
void tk_guard_free(tk_guard* guard);

// The library's own decoding, whole and slow: what text/detokenizer.h is tested against.
tk_status tk_tokenizer_decode(const tk_tokenizer* tokenizer, const uint32_t* ids, size_t num_ids,
                              int skip_special, tk_text* out, tk_text* error);

// ---- chat template ----

typedef struct tk_limits {
  // Instructions of the template engine for one rendering: this many, and more for each message,
  // but never more than the last.
  uint64_t base_steps;
  uint64_t steps_per_message;
  uint64_t max_steps;
  size_t max_output_bytes;
} tk_limits;

enum { TK_MAX_TEMPLATE_BYTES = 256 << 10 };  // of a source

// variables is a JSON object that every rendering starts from: bos_token, eos_token, ...
tk_status tk_template_new(tk_view source, tk_view variables, const tk_limits* limits,
                          tk_template** out, tk_text* error);
void tk_template_free(tk_template* chat_template);

// A conversation; the texts are JSON.
typedef struct tk_chat {
  tk_view messages;   // an array of objects
  tk_view tools;      // an array, or empty for none
  tk_view documents;  // an array, or empty for none
  tk_view variables;  // an object of further variables, or empty
  int32_t add_generation_prompt;
  int64_t now_unix_s;  // what strftime_now() shows; 0 is the clock
} tk_chat;

// guard: what of a special token comes from messages, tools, documents or variables stays text, so
// that nobody can type a turn of the chat; TK_INVALID: it cannot be told apart. Where there is no
// such text, *has_typed is 0 and the text is encoded as any other. Else by
// tk_tokenizer_encode_typed with *typed. A null guard allows all.
tk_status tk_template_render(const tk_template* chat_template, const tk_guard* guard,
                             const tk_chat* chat, tk_text* text, tk_ids* typed, int32_t* has_typed,
                             tk_text* error);

// ---- fetching ----

typedef enum tk_fetch_status {
  TK_FETCH_OK = 0,
  TK_FETCH_INVALID = 1,    // the request makes no sense
  TK_FETCH_FORBIDDEN = 2,  // refused by the source, or by us: an address that may not be reached
  TK_FETCH_NOT_FOUND = 3,
  TK_FETCH_TOO_LARGE = 4,
  TK_FETCH_SOURCE =
      5,              // the source failed, also after retries, or sent something else than it said
  TK_FETCH_FULL = 6,  // no room on the disk
  TK_FETCH_CANCELLED = 7,
  TK_FETCH_LOCAL = 8,  // a directory of ours cannot be written
  TK_FETCH_PANIC = 9,  // a library gave up, *error is for the log only
} tk_fetch_status;

typedef enum tk_fetch_kind {
  TK_FETCH_URL = 1,
  TK_FETCH_HUB = 2,
  TK_FETCH_S3 = 3,
  TK_FETCH_GOOGLE = 4,
  TK_FETCH_AZURE = 5,
} tk_fetch_kind;

typedef struct tk_setting {
  tk_view key;
  tk_view value;
} tk_setting;

typedef struct tk_fetch {
  int32_t kind;         // tk_fetch_kind
  tk_view location;     // the URL, "org/name" of the Hub, or the bucket
  tk_view path;         // Hub: folder of the repository; stores: key of a "directory" or an archive
  tk_view revision;     // Hub: branch, tag or commit
  tk_view token;        // Hub and URL: sent to the first host only; may be empty
  tk_view staging_dir;  // for all but the Hub, whose files go into its cache
  tk_view known_revision;      // answer at once if this is still the one
  tk_view hub_endpoint;        // "https://huggingface.co"
  tk_view hub_cache_dir;       // with the models--org--name directories
  int32_t hub_offline;         // not 0: only what the cache has
  const tk_setting* settings;  // of stores, named as in the environment: AWS_REGION, ...
  size_t num_settings;
  const tk_view* allowed_hosts;  // "host", "host:port", an address, a block: not refused as private
  size_t num_allowed_hosts;
  // All that an adapter may consist of, as paths in its directory; nothing else is fetched of one.
  const tk_view* adapter_files;
  size_t num_adapter_files;
  uint64_t max_bytes;
  uint32_t connect_timeout_ms;
  uint32_t idle_timeout_ms;         // without a byte
  uint32_t total_timeout_ms;        // of the whole call
  uint64_t least_bytes_per_second;  // of one body, measured over rate_window_ms at a time
  uint32_t rate_window_ms;
  uint32_t retries;
  uint32_t backoff_ms;  // before the first retry, doubling
  // Called about twenty times a second, on the calling thread; not 0: give up.
  int32_t (*watch)(void* context, uint64_t done_bytes, uint64_t total_bytes);
  // Called on the same thread with adapter_config.json once it is there, and with the safetensors
  // file once its header is (or it is plain that it has none): the name, where it lies, and how
  // long the whole file is to be. Not 0: the rest is not worth fetching, and the call ends as if
  // cancelled.
  int32_t (*look)(void* context, tk_view name, tk_view path, uint64_t file_bytes);
  void* context;
} tk_fetch;

typedef struct tk_fetched {
  tk_text dir;
  tk_text archive;   // the one file in dir, if that is an archive
  tk_text revision;  // commit, or a digest of the files' ETags and sizes
  uint64_t bytes;
  int32_t unchanged;  // not 0: nothing was fetched
} tk_fetched;

// Blocks until the files are there. What an interrupted call left in staging_dir is continued.
tk_fetch_status tk_fetch_run(const tk_fetch* fetch, tk_fetched* out, int32_t* http_status,
                             tk_text* error);

#ifdef __cplusplus
}
#endif

#endif  // TEXTKIT_H_
