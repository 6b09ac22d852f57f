#include "apps/bench_command.h"

#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "apps/complain.h"
#include "apps/options.h"
#include "bench/eviction_bench.h"
#include "bench/http_load.h"
#include "bench/kernel_bench.h"
#include "bench/limits.h"
#include "bench/make_model.h"
#include "bench/statistics.h"
#include "bench/step_bench.h"
#include "config/help.h"
#include "config/load.h"
#include "kernels/isa.h"

namespace lorry::apps {
namespace {

namespace json = boost::json;

constexpr const char* kUsage =
    "lorry bench limits       what this machine can do: read rate, arithmetic rates\n"
    "lorry bench kernels      each kernel of a shape beside its limit\n"
    "lorry bench step MODEL   whole forward steps beside their limits, base and adapters\n"
    "lorry bench serve        a load over HTTP against any OpenAI server\n"
    "lorry bench make-model   a model of a known shape with random weights, and adapters for it\n"
    "lorry bench eviction     bytes that tiers of adapters fetch: the policy beside LRU and a "
    "bound\n"
    "\n--help after any of them lists its options.\n";

// All that the subcommands' options write to.
struct BenchOptions {
  std::string json_file;
  std::string cpu = "auto";
  int num_threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  int rounds = 15;
  std::vector<std::string> batches, kernel_rows;
  bench::StepBenchOptions step;
  bench::KernelBenchOptions kernels;
  bench::HttpLoadOptions load;
  bench::MakeModelOptions make;
  bench::EvictionBenchOptions eviction;
  std::vector<std::string> zipf, capacity_percent;
};

void RegisterEviction(config::Registry& registry, BenchOptions& o) {
  registry.Group("Adapters and requests", {"bench eviction"});
  registry.List(
      {"zipf", "EXPONENT", "popularity of the i-th adapter: 1 / i^EXPONENT (0.9 and 1.1)"},
      &o.zipf);
  registry.List({"capacity", "PERCENT", "room, of the bytes of all adapters (2.5, 10 and 25)"},
                &o.capacity_percent);
  registry.Text({"trace", "FILE",
                 "arrivals and answer lengths from a CSV file: TIMESTAMP,ContextTokens,"
                 "GeneratedTokens"},
                &o.eviction.trace);
}

void Register(config::Registry& registry, BenchOptions& o) {
  registry.Group("Measuring", {"bench limits", "bench kernels", "bench step"});
  registry.Integer({"threads", "", "compute threads"}, &o.num_threads, 1, 1024);
  registry.Integer({"rounds", "", "repetitions; medians are over these"}, &o.rounds, 1, 10000);
  registry.Choice({"cpu", "", "instruction set of the kernels"}, &o.cpu,
                  {"auto", "ref", "portable", "avx2", "avx512bf16"});
  registry.Group("Output",
                 {"bench limits", "bench kernels", "bench step", "bench serve", "bench eviction"});
  registry.Text({"json", "FILE", "write the result as JSON too"}, &o.json_file);

  registry.Group("Steps", {"bench step"});
  registry.List({"adapter", "DIR",
                 "an adapter of the model; the distinct rows use them in turn. A directory of "
                 "adapters counts as all of them"},
                &o.step.adapter_dirs);
  registry.List({"batch", "N", "sequences of a decode step (1 and 8)"}, &o.batches);
  registry.Integer({"context", "", "tokens in the KV cache before a decode step"},
                   &o.step.context_tokens, 1, 1 << 20);
  registry.Integer({"prompt", "", "rows of the prompt step; 0: none"}, &o.step.prompt_tokens, 0,
                   1 << 16);
  registry.Switch({"paged", "", "distinct adapters also laid out in pages of the pool"},
                  &o.step.with_paged);
  registry.Choice({"dtype", "", "type of weights and activations"}, &o.step.dtype,
                  {"auto", "bfloat16", "float32"});

  registry.Group("Kernels", {"bench kernels"});
  registry.Switch({"bf16", "", "bf16 weights and activations; --no-bf16 for f32"}, &o.kernels.bf16);
  registry.List({"rows", "N", "rows of a step (1, 8, 64 and 512)"}, &o.kernel_rows);

  registry.Group("Shape", {"bench kernels", "bench make-model"});
  registry.Text({"shape", "NAME", "tiny, 135m (SmolLM2-135M) or 1.2b (Llama-3.2-1B)"},
                &o.make.shape);
  registry.Integer({"rank", "", "rank of the adapters"}, &o.make.rank, 1, 512);
  registry.Group("Model", {"bench make-model", "bench eviction"});
  registry.Integer({"adapters", "", "how many adapters"}, &o.make.num_adapters, 0, 100000);
  registry.Group("Model", {"bench make-model"});
  registry.Text({"output", "DIR", "DIR/base and DIR/adapters/a0000 ... are written"},
                &o.make.output_dir);

  RegisterEviction(registry, o);

  registry.Group("Load", {"bench serve"});
  registry.Text({"url", "URL", "the server"}, &o.load.url);
  registry.Text({"api-key", "KEY", "sent as a bearer token"}, &o.load.api_key);
  registry.Choice({"mix", "", "which model a request names"}, &o.load.mix,
                  {"base", "same", "distinct", "zipf"});
  registry.List({"lora", "NAME",
                 "adapter names to use, in turn unless --mix says otherwise; none: those that the "
                 "server lists"},
                &o.load.adapters);
  registry.Integer({"streams", "", "requests in flight"}, &o.load.num_streams, 1, 4096);
  registry.Custom({"rate", "R", "Poisson arrivals per second in place of a closed loop"}, {}, "0",
                  [&o](const std::string& text) -> Status {
                    char* end = nullptr;
                    o.load.requests_per_s = std::strtod(text.c_str(), &end);
                    if (*end != 0 || !(o.load.requests_per_s >= 0)) {
                      return Fail(ErrorCode::kInvalidArgument, "a number of requests per second");
                    }
                    return {};
                  });
  registry.Group("Load", {"bench serve", "bench eviction"});
  registry.Integer({"requests", "", "requests that count"}, &o.load.num_requests, 1, 10'000'000);
  registry.Group("Load", {"bench serve"});
  registry.Integer({"warmup", "", "requests before them"}, &o.load.num_warmup, 0, 1'000'000);
  registry.Integer({"prompt-tokens", "", "tokens of a prompt"}, &o.load.prompt_tokens, 1, 1 << 20);
  registry.Integer({"output-tokens", "", "tokens of an answer"}, &o.load.output_tokens, 1, 1 << 20);
  registry.Switch({"text-prompts", "", "send text in place of token ids"}, &o.load.text_prompts);
}

Result<std::vector<int>> Numbers(const std::vector<std::string>& texts, std::vector<int> fallback) {
  if (texts.empty()) return fallback;
  std::vector<int> numbers;
  for (const std::string& text : texts) {
    const int number = std::atoi(text.c_str());
    if (number < 1 || number > 1 << 16) {
      return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}`: a number from 1 to 65536", text));
    }
    numbers.push_back(number);
  }
  return numbers;
}

Result<std::vector<double>> Positive(const std::vector<std::string>& texts,
                                     std::vector<double> fallback) {
  if (texts.empty()) return fallback;
  std::vector<double> numbers;
  for (const std::string& text : texts) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    if (*end != 0 || !(number > 0 && number <= 100)) {
      return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}`: a number above 0, to 100", text));
    }
    numbers.push_back(number);
  }
  return numbers;
}

// A directory that holds adapters stands for all of them, sorted.
std::vector<std::string> ExpandAdapters(const std::vector<std::string>& dirs) {
  namespace fs = std::filesystem;
  std::vector<std::string> expanded;
  for (const std::string& dir : dirs) {
    std::error_code error;
    if (fs::exists(fs::path(dir) / "adapter_config.json", error)) {
      expanded.push_back(dir);
      continue;
    }
    std::vector<std::string> inside;
    for (const auto& entry : fs::directory_iterator(dir, error)) {
      if (fs::exists(entry.path() / "adapter_config.json", error)) inside.push_back(entry.path());
    }
    std::sort(inside.begin(), inside.end());
    expanded.insert(expanded.end(), inside.begin(), inside.end());
    if (inside.empty()) expanded.push_back(dir);  // its own error says what is missing
  }
  return expanded;
}

Result<json::object> RunLimits(const BenchOptions& options) {
  const Stream stream(options.num_threads);
  ASSIGN_OR_RETURN(const bench::LimitProbe probe, bench::LimitProbe::Create(size_t{1} << 30));
  const bench::Limits limits = probe.Measure(stream, options.rounds);
  fmt::print(
      "{}\n\n{:<28}{:>10.1f} GB/s\n{:<28}{:>10.0f} GFLOP/s\n{:<28}{:>10.0f} "
      "GFLOP/s\n{:<28}{:>10.0f} GOP/s\n",
      bench::MachineName(options.num_threads), "memory read, 1 GiB", limits.read_bytes_per_s * 1e-9,
      "bf16 dot", limits.bf16_flops * 1e-9, "f32 multiply-add", limits.f32_flops * 1e-9, "int8 dot",
      limits.int8_ops * 1e-9);
  return json::object{{"machine", bench::MachineName(options.num_threads)},
                      {"rounds", options.rounds},
                      {"read_bytes_per_s", limits.read_bytes_per_s},
                      {"bf16_flops", limits.bf16_flops},
                      {"f32_flops", limits.f32_flops},
                      {"int8_ops", limits.int8_ops}};
}

Result<json::object> RunStep(BenchOptions& options, const std::vector<std::string>& words) {
  if (words.size() != 1) {
    return Fail(ErrorCode::kInvalidArgument,
                "which model? lorry bench step MODEL_DIR [--adapter DIR]");
  }
  options.step.model_dir = words.front();
  options.step.adapter_dirs = ExpandAdapters(options.step.adapter_dirs);
  options.step.num_threads = options.num_threads;
  options.step.rounds = options.rounds;
  ASSIGN_OR_RETURN(options.step.batches, Numbers(options.batches, {1, 8}));
  return bench::RunStepBench(options.step);
}

Result<json::object> RunKernels(BenchOptions& options) {
  options.kernels.shape = options.make.shape;
  options.kernels.rank = options.make.rank;
  options.kernels.num_threads = options.num_threads;
  options.kernels.rounds = options.rounds;
  ASSIGN_OR_RETURN(options.kernels.rows, Numbers(options.kernel_rows, {1, 8, 64, 512}));
  return bench::RunKernelBench(options.kernels);
}

Result<json::object> RunEviction(BenchOptions& options) {
  options.eviction.num_adapters = options.make.num_adapters;
  options.eviction.num_requests = options.load.num_requests;
  ASSIGN_OR_RETURN(options.eviction.zipf, Positive(options.zipf, options.eviction.zipf));
  ASSIGN_OR_RETURN(options.eviction.capacity_percent,
                   Positive(options.capacity_percent, options.eviction.capacity_percent));
  return bench::RunEvictionBench(options.eviction);
}

Status Run(const std::string& name, BenchOptions& options, const std::vector<std::string>& words) {
  if (name == "make-model") return bench::MakeModel(options.make);
  RETURN_IF_ERROR(kernels::SelectIsa(options.cpu));
  Result<json::object> report = name == "limits"     ? RunLimits(options)
                                : name == "kernels"  ? RunKernels(options)
                                : name == "step"     ? RunStep(options, words)
                                : name == "eviction" ? RunEviction(options)
                                                     : bench::RunHttpLoad(options.load);
  if (!report) return tl::unexpected<Error>(std::move(report.error()));
  if (options.json_file.empty()) return {};
  std::ofstream file(options.json_file);
  file << json::serialize(*report) << "\n";
  file.flush();
  if (!file) return Fail(ErrorCode::kInternal, fmt::format("cannot write {}", options.json_file));
  return {};
}

}  // namespace

std::string BenchOptionsMarkdown() {
  BenchOptions options;
  config::Registry registry;
  Register(registry, options);
  return config::MarkdownTables(registry);
}

int RunBenchCommand(const std::vector<std::string>& args) {
  const std::vector<std::string> names = {"limits", "kernels",    "step",
                                          "serve",  "make-model", "eviction"};
  const std::string name = args.empty() ? "" : args.front();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    const bool asked = name.empty() || name == "--help" || name == "-h";
    if (!asked) Complain("bench", fmt::format("no `{}`", name));
    std::fputs(kUsage, asked ? stdout : stderr);
    return asked ? 0 : 2;
  }
  const std::string command = "bench " + name;
  BenchOptions options;
  if (name == "eviction") {  // its defaults of options that it shares with others
    options.make.num_adapters = options.eviction.num_adapters;
    options.load.num_requests = options.eviction.num_requests;
  }
  config::Registry registry;
  Register(registry, options);
  Options others;
  config::Registry elsewhere;
  RegisterOptions(elsewhere, &others);
  const auto loaded = config::Load(registry, command, {args.begin() + 1, args.end()},
                                   config::ProcessEnvironment(), &elsewhere);
  if (!loaded) {
    return Complain(command, loaded.error().message, 2);
  }
  if (loaded->help) {
    fmt::print("{}", config::HelpText(registry, command));
    return 0;
  }
  for (const std::string& warning : loaded->warnings) {
    Complain(command, warning);
  }
  if (name == "serve" && !options.load.adapters.empty()) {
    if (registry.Find("mix")->set_by.empty()) options.load.mix = "distinct";
    if (options.load.mix == "base") {
      return Complain(
          command,
          fmt::format("{} is base, which uses none of the --lora adapters", registry.Origin("mix")),
          2);
    }
  }
  const Status status = Run(name, options, loaded->words);
  return status ? 0 : Complain(command, status.error().message);
}

}  // namespace lorry::apps
