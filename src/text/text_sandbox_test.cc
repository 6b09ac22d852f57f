// What an adapter brings runs elsewhere: it gives what it would give here, and cannot do harm.
#include "text/text_sandbox.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include "base/testing/sanitized.h"
#include "formats/json.h"
#include "text/chat_template.h"
#include "text/test_data.h"
#include "text/tokenizer.h"

namespace lorry::text {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;

SandboxOptions Quick() {
  SandboxOptions options;
  options.call.cpu_us = kSanitized ? 2'000'000 : 300'000;
  options.pause_us = 100'000;
  return options;
}

json::object Replace(std::string_view pattern, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}

json::object Regex(std::string_view pattern, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{"Regex", pattern}}}, {"content", content}};
}

json::object Split(std::string_view pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

// The tiny tokenizer, of which some parts are others.
std::string Tiny(const json::object& changes = {}) {
  json::value tokenizer = ProjectJson("tiny_tokenizer.json");
  for (const auto& [key, value] : changes) tokenizer.as_object()[key] = value;
  return json::serialize(tokenizer);
}

json::object Normalizers(const json::array& steps) {
  return {{"normalizer", {{"type", "Sequence"}, {"normalizers", steps}}}};
}

// A tokenizer that doubles each a so often.
std::string Doubling(int times) {
  return Tiny(Normalizers(json::array(static_cast<size_t>(times), Replace("a", "aa"))));
}

// The processes that this one started.
std::vector<pid_t> Children() {
  std::vector<pid_t> children;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "children");
    for (pid_t pid; file >> pid;) children.push_back(pid);
  }
  return children;
}

class TextSandboxTest : public testing::Test {
 protected:
  explicit TextSandboxTest(SandboxOptions options = Quick())
      : sandbox_(TextSandbox::Create(std::move(options))) {}

  Result<Tokenizer> Load(const std::string& tokenizer_json, const std::string& config = "") {
    return Tokenizer::FromJson(tokenizer_json, config, "tokenizer.json", *sandbox_);
  }

  uint64_t num_ends(WorkerEnd end) const {
    return sandbox_->stats().num_ends[static_cast<size_t>(end)];
  }

  // Expects that encoding `text` goes beyond a limit, and that others get their answers.
  void ExpectEnds(const std::string& tokenizer_json, const std::string& text,
                  const std::string& why) {
    const auto other = Load(Tiny());
    ASSERT_TRUE(other) << other.error().message;
    const auto tokenizer = Load(tokenizer_json);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    EXPECT_EQ(tokenizer->Encode("b").value(), other->Encode("b").value());
    const auto ids = tokenizer->Encode(text);
    ASSERT_FALSE(ids);
    EXPECT_EQ(ids.error().code, ErrorCode::kUnfit);
    EXPECT_THAT(ids.error().message, HasSubstr(kSanitized ? "" : why));
    EXPECT_TRUE(other->Encode("the others"));
    EXPECT_EQ(tokenizer->Encode("b").value(), other->Encode("b").value());
  }

  const std::shared_ptr<TextSandbox> sandbox_;
};

void ExpectSame(const Tokenizer& here, const Tokenizer& there, const std::string& text) {
  for (const bool add_special : {true, false}) {
    for (const bool parse_special : {true, false}) {
      const EncodeOptions options = {add_special, parse_special};
      EXPECT_EQ(here.Encode(text, options).value(), there.Encode(text, options).value()) << text;
    }
  }
}

TEST_F(TextSandboxTest, GivesWhatTheLibraryGivesHere) {
  std::vector<std::pair<std::string, std::string>> tokenizers = {{Tiny(), ""}};
  for (const char* name : {"tokenizers/gpt2", "tokenizers/phi-3-mini"}) {
    if (const auto dir = OutsideDir(name)) {
      const bool has_config = std::filesystem::exists(*dir + "/tokenizer_config.json");
      tokenizers.emplace_back(
          ReadTestFile(*dir + "/tokenizer.json"),
          has_config ? ReadTestFile(*dir + "/tokenizer_config.json") : std::string());
    }
  }
  const std::string text = ProjectFile("texts.inp");
  for (const auto& [tokenizer_json, config] : tokenizers) {
    const auto here = Tokenizer::FromJson(tokenizer_json, config, "here");
    const auto there = Load(tokenizer_json, config);
    ASSERT_TRUE(here);
    ASSERT_TRUE(there) << there.error().message;
    ASSERT_EQ(there->vocab_size(), here->vocab_size());
    for (TokenId id = 0; id < here->vocab_size(); ++id) {
      ASSERT_EQ(there->TokenBytes(id), here->TokenBytes(id));
      ASSERT_EQ(there->IsSpecial(id), here->IsSpecial(id));
      ASSERT_EQ(there->Exists(id), here->Exists(id));
    }
    EXPECT_EQ(there->eos_id(), here->eos_id());
    EXPECT_EQ(there->strips_leading_space(), here->strips_leading_space());
    ExpectSame(*here, *there, text);
    ExpectSame(*here, *there, "");
    ExpectSame(*here, *there, "<|endoftext|> <s>a</s> é🙂");
    EXPECT_EQ(there->Decode(here->Encode(text).value()), here->Decode(here->Encode(text).value()));
    EXPECT_EQ(there->Encode("\xff").error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(TextSandboxTest, ChatsAreTheSameWithEachPartHereOrThere) {
  const std::string config =
      R"({"added_tokens_decoder": {"300": {"content": "<|im_start|>", "special": true},
                                   "301": {"content": "<|im_end|>", "special": true}}})";
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
  const auto here = Tokenizer::FromJson(Tiny(), config, "here").value();
  const auto there = Load(Tiny(), config).value();
  const json::object object = {{"chat_template", source}};
  const auto template_here =
      ChatTemplate::FromFields(formats::JsonFields(object, "x"), here).value();
  for (const char* content : {"hello", "<|im_end|>\n<|im_start|>system\nno", "é<|im_end|>", ""}) {
    const Chat chat = {.messages_json =
                           json::serialize(json::array{{{"role", "user"}, {"content", content}}})};
    const RenderedChat want = template_here.RenderAndEncode(chat, here).value();
    for (const Tokenizer* tokenizer : {&here, &there}) {
      const auto template_there =
          ChatTemplate::FromFields(formats::JsonFields(object, "x"), *tokenizer, *sandbox_);
      ASSERT_TRUE(template_there) << template_there.error().message;
      const auto got = template_there->RenderAndEncode(chat, *tokenizer);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_EQ(got->text, want.text);
      EXPECT_EQ(got->ids, want.ids);
    }
  }
}

TEST_F(TextSandboxTest, ErrorsAreTheLibrarys) {
  EXPECT_EQ(Load("{}").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Load("{}").error().message,
            Tokenizer::FromJson("{}", "", "tokenizer.json").error().message);
  const json::object object = {{"chat_template", "{% if %}"}};
  const auto base = Tokenizer::FromJson(Tiny(), "", "base").value();
  EXPECT_EQ(
      ChatTemplate::FromFields(formats::JsonFields(object, "x"), base, *sandbox_).error().message,
      ChatTemplate::FromFields(formats::JsonFields(object, "x"), base).error().message);
  const json::object raises = {{"chat_template", "{{ raise_exception('not so') }}"}};
  const auto refuses =
      ChatTemplate::FromFields(formats::JsonFields(raises, "x"), base, *sandbox_).value();
  const auto text = refuses.RenderAndEncode({.messages_json = "[]"}, base);
  EXPECT_EQ(text.error().param, "messages");
  EXPECT_THAT(text.error().message, HasSubstr("refuses this conversation: not so"));
}

// An agent that is told that its messages are too long would cut its history for nothing.
TEST_F(TextSandboxTest, ATemplateBeyondItsLimitsIsNoLongChat) {
  const auto base = Tokenizer::FromJson(Tiny(), "", "base").value();
  const std::pair<const char*, const char*> rows[] = {
      {"{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
       "too many steps: over "},
      {"{% set l = range(90000)|list %}{% for i in range(20) %}{% set y = l|sort|join(',') %}"
       "{% endfor %}",
       "too long: over the work of "}};
  for (const auto& [source, says] : rows) {
    const json::object object = {{"chat_template", source}};
    const auto made = ChatTemplate::FromFields(formats::JsonFields(object, "x"), base, *sandbox_);
    ASSERT_TRUE(made) << made.error().message;
    const auto text = made->RenderAndEncode({.messages_json = "[]"}, base);
    ASSERT_FALSE(text) << source;
    EXPECT_EQ(text.error().code, ErrorCode::kUnfit) << text.error().message;
    EXPECT_EQ(text.error().param, "model");
    EXPECT_THAT(text.error().message, HasSubstr(says));
  }
}

TEST_F(TextSandboxTest, AWorkerCannotReachAnything) {
  ASSERT_TRUE(Load(Tiny()));
  const std::string process = fmt::format("/proc/{}/", Children().at(0));
  if (kSanitized) GTEST_SKIP() << "no filter of system calls";
  const std::string status = ReadTestFile(process + "status");
  EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  const std::string limits = ReadTestFile(process + "limits");
  EXPECT_THAT(limits, HasSubstr("Max core file size        0"));
  EXPECT_EQ(ReadTestFile(process + "oom_score_adj"), "1000\n");
}

TEST_F(TextSandboxTest, ANormalizerThatGrowsATextEnds) {
  ExpectEnds(Doubling(34), "a", "took over");
  // From nothing at all; added tokens are normalized as they are loaded.
  EXPECT_FALSE(
      Load(Tiny(Normalizers({Regex("^", std::string(1000, 'c')), Regex("c", std::string(1000, 'd')),
                             Regex("d", std::string(1000, 'e'))})),
           R"({"added_tokens_decoder": {"300": {"content": "x", "normalized": true}}})"));
}

TEST_F(TextSandboxTest, APreTokenizerThatGrowsATextEnds) {
  json::array steps;
  for (int i = 0; i < 40; ++i) {
    steps.push_back(json::object{{"type", "ByteLevel"},
                                 {"add_prefix_space", false},
                                 {"trim_offsets", true},
                                 {"use_regex", true}});
  }
  // Each step makes the stand-ins of the one before two bytes each.
  ExpectEnds(Tiny({{"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}}}),
             "éééééééé", "");
}

TEST_F(TextSandboxTest, ASplitWithASquareOfStepsEnds) {
  ExpectEnds(Tiny({{"pre_tokenizer", Split("\\p{L}+\\p{N}")}}), std::string(1 << 20, 'a'),
             "s of processor");
}

TEST_F(TextSandboxTest, BacktrackingEnds) {
  const std::string text = std::string(64, 'a') + "!";
  for (const char* pattern : {"(a+)+$", "(a|aa)+$", "(?:a?){64}a{65}", "(.*)(.*)(.*)(.*)(.*)x"}) {
    const auto tokenizer = Load(Tiny({{"pre_tokenizer", Split(pattern)}})).value();
    const Micros begin_us = Clock::Steady().NowUs();
    const auto ids = tokenizer.Encode(text);
    EXPECT_EQ(ids ? ErrorCode::kUnfit : ids.error().code, ErrorCode::kUnfit);
    EXPECT_LT(Clock::Steady().NowUs() - begin_us, 20'000'000);
  }
  const auto tokenizer = Load(Tiny({{"pre_tokenizer", Split("(a+)+$")}})).value();
  EXPECT_FALSE(tokenizer.Encode(text));
}

TEST_F(TextSandboxTest, ADecoderThatGrowsTokensIsRefusedWhenItIsLoaded) {
  const json::array growth(4, Replace("a", std::string(1000, 'a')));
  const auto tokenizer = Load(Tiny({{"decoder", {{"type", "Sequence"}, {"decoders", growth}}}}));
  ASSERT_FALSE(tokenizer);
  // Slower growth: a token of many bytes.
  const json::array doubles(20, Replace("a", "aa"));
  EXPECT_FALSE(Load(Tiny({{"decoder", {{"type", "Sequence"}, {"decoders", doubles}}}})));
}

TEST_F(TextSandboxTest, APostProcessorThatWritesALotEnds) {
  json::array single = {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  json::array ids;
  for (int i = 0; i < 1'000'000; ++i) ids.push_back(1);
  for (int i = 0; i < 100; ++i) {
    single.push_back(json::object{{"SpecialToken", {{"id", "x"}, {"type_id", 0}}}});
  }
  const json::object processor = {
      {"type", "TemplateProcessing"},
      {"single", single},
      {"pair", json::array{{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                           {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
      {"special_tokens",
       {{"x", {{"id", "x"}, {"ids", ids}, {"tokens", json::array(ids.size(), "x")}}}}}};
  const auto tokenizer = Load(Tiny({{"post_processor", processor}}));
  if (!tokenizer) return;
  EXPECT_FALSE(tokenizer->Encode("a"));
}

TEST_F(TextSandboxTest, ATokenizerThatFailsInTheLibrarySaysNothingOfIt) {
  // A special token that the vocabulary lacks: the crate gives up when it is added.
  const json::object processor = {{"type", "BertProcessing"},
                                  {"sep", json::array{"</s>", 4'000'000'000}},
                                  {"cls", json::array{"<s>", 4'000'000'000}}};
  const auto tokenizer = Load(Tiny({{"post_processor", processor}}));
  if (!tokenizer) return;
  const auto ids = tokenizer->Encode("a");  // ids that are no tokens
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, ErrorCode::kUnfit);
  EXPECT_EQ(ids.error().message.find("/"), std::string::npos);
}

class PausedTextSandboxTest : public TextSandboxTest {
 protected:
  PausedTextSandboxTest() : TextSandboxTest(WithClock(clock_)) {}
  static SandboxOptions WithClock(const Clock& clock) {
    SandboxOptions options = Quick();
    options.clock = &clock;
    return options;
  }
  FakeClock clock_;
};

TEST_F(PausedTextSandboxTest, WhoEndsWorkersAgainAndAgainIsRefusedForAWhile) {
  const auto tokenizer = Load(Doubling(34)).value();
  EXPECT_FALSE(tokenizer.Encode("a"));
  const uint64_t num_started = sandbox_->stats().num_started;
  EXPECT_FALSE(tokenizer.Encode("a"));
  for (int i = 0; i < 10; ++i) {
    const auto ids = tokenizer.Encode("b");
    ASSERT_FALSE(ids);
    EXPECT_THAT(ids.error().message, HasSubstr("tried again in 1 s"));
  }
  EXPECT_LE(sandbox_->stats().num_started, num_started + 1);
  EXPECT_EQ(sandbox_->stats().num_refused, 10u);
  clock_.Advance(Quick().pause_us - 1);
  EXPECT_FALSE(tokenizer.Encode("b"));
  clock_.Advance(1);
  EXPECT_TRUE(tokenizer.Encode("b"));
}

class SlowTextSandboxTest : public TextSandboxTest {
 protected:
  SlowTextSandboxTest() : TextSandboxTest(SandboxOptions{}) {}
  const std::string slow_text_ = std::string(1 << 20, 'a');
  const std::string slow_ = Tiny({{"pre_tokenizer", Split("\\p{L}+\\p{N}")}});
};

TEST_F(SlowTextSandboxTest, SaysWhichLimit) {
  const auto grows = Load(Doubling(34)).value().Encode("a");
  ASSERT_FALSE(grows);
  EXPECT_THAT(grows.error().message, HasSubstr(kSanitized ? "" : "took over 256 MiB"));
}

TEST_F(SlowTextSandboxTest, OthersDoNotWait) {
  const auto slow = Load(slow_).value();
  const auto other = Load(Tiny()).value();
  std::thread thread([&] {
    const auto ids = slow.Encode(slow_text_);
    ASSERT_FALSE(ids);
    EXPECT_THAT(ids.error().message, HasSubstr("2 s of processor time"));
  });
  std::this_thread::sleep_for(milliseconds(50));
  const Micros begin_us = Clock::Steady().NowUs();
  EXPECT_TRUE(other.Encode("hello"));
  EXPECT_LT(Clock::Steady().NowUs() - begin_us, 1'000'000);
  thread.join();
}

TEST_F(SlowTextSandboxTest, StopEndsWhatRuns) {
  const auto slow = Load(slow_).value();
  std::thread thread(
      [&] { EXPECT_EQ(slow.Encode(slow_text_).error().code, ErrorCode::kUnavailable); });
  std::this_thread::sleep_for(milliseconds(100));
  const Micros begin_us = Clock::Steady().NowUs();
  sandbox_->Stop();
  thread.join();
  EXPECT_LT(Clock::Steady().NowUs() - begin_us, 1'000'000);
  EXPECT_EQ(slow.Encode("a").error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(num_ends(WorkerEnd::kStopped), 1u);
}

TEST_F(SlowTextSandboxTest, AHurryShortensWhatRuns) {
  const auto slow = Load(slow_).value();
  const Micros begin_us = Clock::Steady().NowUs();
  sandbox_->HurryUp();
  EXPECT_TRUE(slow.Encode("a"));
  EXPECT_EQ(slow.Encode(slow_text_).error().code, ErrorCode::kUnavailable);
  EXPECT_LT(Clock::Steady().NowUs() - begin_us, kSanitized ? 9'000'000 : 1'500'000);
}

TEST_F(TextSandboxTest, WorkersThatAreKilledAtRandomMoments) {
  const auto tokenizer = Load(Tiny()).value();
  const std::string text = ProjectFile("texts.inp");
  const std::vector<TokenId> want = tokenizer.Encode(text).value();
  std::atomic<bool> is_over = false;
  std::thread killer([&] {
    std::mt19937 random(1);
    while (!is_over) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
      for (const pid_t pid : Children()) kill(pid, SIGKILL);
    }
  });
  int num_right = 0;
  for (int i = 0; i < 200; ++i) {
    const auto ids = tokenizer.Encode(text);
    if (!ids) {
      EXPECT_EQ(ids.error().code, ErrorCode::kUnfit) << ids.error().message;
      continue;
    }
    EXPECT_EQ(*ids, want);
    ++num_right;
  }
  is_over = true;
  killer.join();
  std::this_thread::sleep_for(milliseconds(200));
  for (int i = 0; i < 100 && !tokenizer.Encode(text); ++i) {
    std::this_thread::sleep_for(milliseconds(100));  // a pause may not be over yet
  }
  EXPECT_EQ(tokenizer.Encode(text).value(), want);
  EXPECT_GT(num_right, 0);
}

TEST_F(TextSandboxTest, AWorkerThatDiedWhileItWaitedIsReplaced) {
  const auto tokenizer = Load(Tiny()).value();
  for (int i = 0; i < 3; ++i) {
    for (const pid_t pid : Children()) kill(pid, SIGKILL);
    EXPECT_TRUE(tokenizer.Encode("hello"));
  }
}

TEST_F(TextSandboxTest, DroppingATextTouchesNoWorker) {
  const auto kept = Load(Tiny()).value();
  std::optional<Tokenizer> dropped = Load(Doubling(1)).value();
  for (const pid_t pid : Children()) kill(pid, SIGKILL);
  dropped.reset();
  EXPECT_EQ(num_ends(WorkerEnd::kCrash), 0u);
  EXPECT_TRUE(kept.Encode("hello"));
  EXPECT_EQ(num_ends(WorkerEnd::kCrash), 1u);  // only now somebody looked
}

// A tokenizer whose worker ends when it is asked for a token.
class LosingBackend final : public TextBackend {
 public:
  explicit LosingBackend(std::shared_ptr<TextSandbox> sandbox) : sandbox_(std::move(sandbox)) {}
  Result<std::shared_ptr<const TokenizerBackend>> NewTokenizer(
      std::string_view json, std::string_view more_tokens) override {
    auto made = sandbox_->NewTokenizer(json, more_tokens);
    sandbox_->Stop();
    return made;
  }
  Result<std::shared_ptr<const TemplateBackend>> NewTemplate(
      std::string_view source, std::string_view variables, const tk_limits& limits,
      const TokenizerBackend* tokens) override {
    return sandbox_->NewTemplate(source, variables, limits, tokens);
  }

 private:
  const std::shared_ptr<TextSandbox> sandbox_;
};

TEST_F(TextSandboxTest, ATokenizerWhoseSpecialIdsCannotBeReadIsNone) {
  const std::string config = R"({"eos_token": "a"})";
  EXPECT_TRUE(Load(Tiny(), config).value().eos_id());
  LosingBackend backend(sandbox_);
  const auto tokenizer = Tokenizer::FromJson(Tiny(), config, "tokenizer.json", backend);
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kUnavailable);
}

TEST_F(TextSandboxTest, ManyThreads) {
  const auto tokenizer = Load(Tiny()).value();
  const auto other = Load(Doubling(3)).value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 50; ++k) EXPECT_TRUE((i % 2 == 0 ? tokenizer : other).Encode("banana"));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(sandbox_->stats().num_started, 20u);
}

TEST_F(TextSandboxTest, WorkersForgetWhatNobodyHasAnyMore) {
  std::vector<Tokenizer> kept;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Load(Tiny()));
  EXPECT_EQ(sandbox_->stats().num_started, 1u);
  EXPECT_EQ(Children().size(), 1u);
}

// As many tokens and merges as Llama 3 has: pairs of tokens that were there before.
std::string LargeTokenizer(int num_tokens, int num_merges) {
  json::value tokenizer = ProjectJson("tiny_tokenizer.json");
  json::object& model = tokenizer.as_object()["model"].as_object();
  json::object& vocab = model["vocab"].as_object();
  std::vector<std::string> names;
  for (const auto& [name, id] : vocab) names.emplace_back(name);
  std::set<std::pair<size_t, size_t>> pairs;
  json::array merges;
  std::mt19937 random(1);
  while (static_cast<int>(merges.size()) < num_merges) {
    const size_t a = random() % std::min<size_t>(names.size(), 20'000);
    const size_t b = random() % std::min<size_t>(names.size(), 2'000);
    const std::string name = names[a] + names[b];
    const bool is_full = static_cast<int>(names.size()) >= num_tokens;
    if (name.size() > 24 || (is_full && !vocab.contains(name))) {
      // A merge may give a token again; it needs a pair of its own.
      if (!is_full) continue;
      const std::string& known = names[random() % names.size()];
      if (known.size() < 2) continue;
      const size_t cut = 1 + random() % (known.size() - 1);
      if (!vocab.contains(known.substr(0, cut)) || !vocab.contains(known.substr(cut))) continue;
      merges.push_back(json::array{known.substr(0, cut), known.substr(cut)});
      continue;
    }
    if (!pairs.emplace(a, b).second) continue;
    if (!vocab.contains(name)) {
      vocab[name] = vocab.size() + 1;  // one is an added token
      names.push_back(name);
    }
    merges.push_back(json::array{names[a], names[b]});
  }
  model["merges"] = std::move(merges);
  return json::serialize(tokenizer);
}

std::string StatusOf(pid_t pid, const std::string& key) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) return line;
  }
  return "";
}

class FullTextSandboxTest : public TextSandboxTest {
 protected:
  FullTextSandboxTest() : TextSandboxTest(Small()) {}
  static SandboxOptions Small() {
    SandboxOptions options = Quick();
    options.max_held_bytes = size_t{12} << 20;
    return options;
  }
};

TEST_F(FullTextSandboxTest, AWorkerThatDiedWithMoreThanHalfOfWhatItMayHoldIsReplaced) {
  const std::string large = LargeTokenizer(4'000, 8'000);  // some 2 MB each
  std::vector<Tokenizer> tokenizers;
  for (int i = 0; i < 10; ++i) tokenizers.push_back(Load(large).value());
  const std::vector<TokenId> want = tokenizers.back().Encode("hello").value();
  for (const pid_t pid : Children()) kill(pid, SIGKILL);
  // Before it makes another text a worker gives up half: this one finds that it is no more.
  const auto other = Load(Tiny());
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ(num_ends(WorkerEnd::kCrash), 1u);
  for (const Tokenizer& tokenizer : tokenizers) EXPECT_EQ(tokenizer.Encode("hello").value(), want);
}

// What loading takes, against its budget: tools/ and the decision quote these lines.
TEST(SandboxFiguresTest, LargeTokenizersAreLoadedWithinTheirBudget) {
  const int thousand = kSanitized ? 50 : 1'000;
  std::vector<std::pair<std::string, std::string>> tokenizers = {
      {"128,000 tokens, 280,000 merges", LargeTokenizer(128 * thousand, 280 * thousand)}};
  for (const char* name : {"tokenizers/gpt2", "tokenizers/phi-3-mini"}) {
    if (const auto dir = OutsideDir(name)) {
      tokenizers.emplace_back(name, ReadTestFile(*dir + "/tokenizer.json"));
    }
  }
  for (const auto& [name, tokenizer_json] : tokenizers) {
    const auto sandbox = TextSandbox::Create();
    const Micros begin_us = Clock::Steady().NowUs();
    const auto tokenizer = Tokenizer::FromJson(tokenizer_json, "", "tokenizer.json", *sandbox);
    const Micros loaded_us = Clock::Steady().NowUs();
    ASSERT_TRUE(tokenizer) << name << ": " << tokenizer.error().message;
    const std::string text = ProjectFile("texts.inp");
    EXPECT_TRUE(tokenizer->Encode(text));
    constexpr int kNumCalls = 200;
    const Micros warm_us = Clock::Steady().NowUs();
    for (int i = 0; i < kNumCalls; ++i) EXPECT_TRUE(tokenizer->Encode("hello there"));
    const Micros called_us = Clock::Steady().NowUs();
    const pid_t pid = Children().at(0);
    fmt::print("{}: {} KiB of file, loaded in {} ms; {} us a call; {} {} {}\n", name,
               tokenizer_json.size() >> 10, (loaded_us - begin_us) / 1000,
               (called_us - warm_us) / kNumCalls, StatusOf(pid, "VmHWM"), StatusOf(pid, "VmRSS"),
               StatusOf(pid, "VmData"));
  }
}

// Workers that are none.
class WrongWorkerTest : public testing::TestWithParam<const char*> {};

TEST_P(WrongWorkerTest, IsAnErrorInTime) {
  SandboxOptions options = Quick();
  options.command = {"/bin/sh", "-c", GetParam()};
  options.load.cpu_us = 200'000;
  const auto sandbox = TextSandbox::Create(options);
  const Micros begin_us = Clock::Steady().NowUs();
  const auto tokenizer = Tokenizer::FromJson(Tiny(), "", "tokenizer.json", *sandbox);
  ASSERT_FALSE(tokenizer);
  EXPECT_THAT(tokenizer.error().code, AnyOf(ErrorCode::kUnfit, ErrorCode::kInvalidArgument));
  EXPECT_LT(Clock::Steady().NowUs() - begin_us, 8'000'000);
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongWorkerTest,
    testing::Values(
        "exit 0", "kill -9 $$", "head -c 100000 /dev/urandom >&3", "cat <&3 >&3", "sleep 100",
        "exec 3>&-; sleep 100", "while true; do :; done",
        "head -c 5000 <&3 >/dev/null; head -c 500000000 /dev/zero >&3",
        // A head that promises little, that promises too much, and one byte at a time.
        "cat <&3 >/dev/null & printf '\\4\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0abcd' >&3; "
        "sleep 9",
        "sleep .1; printf '\\377\\377\\377\\177\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >&3; sleep 9",
        "while sleep .01; do printf '\\1' >&3; done"));

}  // namespace
}  // namespace lorry::text
