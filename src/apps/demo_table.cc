#include "apps/demo_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <latch>
#include <thread>

#include "net/http_client.h"

namespace lorry::apps {
namespace {

namespace json = boost::json;

constexpr int kMaxAnswerTokens = 96;  // the demo's longest answers have about 60
constexpr size_t kGap = 2;            // between columns
constexpr size_t kMaxLines = 2;       // of a cell; the adapter's answer may have twice as many

bool StartsCharacter(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }

size_t NumCharacters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), StartsCharacter));
}

// Bytes of the first `num_characters` characters.
size_t BytesOf(std::string_view text, size_t num_characters) {
  size_t at = 0;
  while (at < text.size()) {
    if (StartsCharacter(text[at]) && num_characters-- == 0) break;
    ++at;
  }
  return at;
}

std::string AnswerIn(const std::string& body) {
  try {
    const json::value answer = json::parse(body);
    if (const json::value* error = answer.as_object().if_contains("error")) {
      return fmt::format("({})", json::value_to<std::string>(error->at("message")));
    }
    return json::value_to<std::string>(answer.at_pointer("/choices/0/message/content"));
  } catch (const std::exception&) {
    return "(not an answer)";
  }
}

// Connects, waits until all the others have connected too, then asks: so that the questions meet in
// one batch.
void Ask(const DemoServer& server, std::latch& all_connected, const std::string& model,
         const std::string& question, std::string* answer) {
  net::HttpClient client(server.host, server.port);
  (void)client.Send({.target = "/health"});  // where it fails, the question's own error is shown
  all_connected.arrive_and_wait();
  net::HttpCall call;
  call.method = "POST";
  call.target = "/v1/chat/completions";
  call.headers.Add("Content-Type", "application/json");
  if (!server.api_key.empty()) call.headers.Add("Authorization", "Bearer " + server.api_key);
  call.body = json::serialize(
      json::object{{"model", model},
                   {"messages", {json::object{{"role", "user"}, {"content", question}}}},
                   {"max_tokens", kMaxAnswerTokens},
                   {"temperature", 0}});
  const Result<net::HttpResponse> response = client.Send(call);
  *answer = response ? AnswerIn(response->body) : fmt::format("({})", response.error().message);
}

// Wrapped, and cut with an ellipsis after `max_lines`.
std::vector<std::string> Cell(std::string_view text, size_t width, size_t max_lines) {
  std::vector<std::string> lines = WrapText(text, width);
  if (lines.size() > max_lines) {
    lines.resize(max_lines);
    std::string& last = lines.back();
    last.resize(BytesOf(last, width - 1));
    last += "…";
  }
  return lines;
}

std::string Padded(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, NumCharacters(text)), ' ');
}

size_t LongestOf(const std::vector<DemoRow>& rows, std::string DemoRow::* cell, size_t at_least) {
  for (const DemoRow& row : rows) at_least = std::max(at_least, NumCharacters(row.*cell));
  return at_least;
}

}  // namespace

std::vector<DemoRow> AskAll(const DemoServer& server, const std::vector<DemoPrompt>& prompts) {
  std::vector<DemoRow> rows(prompts.size());
  std::latch all_connected(static_cast<ptrdiff_t>(2 * prompts.size()));
  std::vector<std::thread> askers;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const DemoPrompt& prompt = prompts[i];
    rows[i].task = prompt.adapter;
    rows[i].question = prompt.question;
    askers.emplace_back(Ask, std::cref(server), std::ref(all_connected), std::cref(server.base),
                        std::cref(prompt.question), &rows[i].base_answer);
    askers.emplace_back(Ask, std::cref(server), std::ref(all_connected), std::cref(prompt.adapter),
                        std::cref(prompt.question), &rows[i].adapter_answer);
  }
  for (std::thread& asker : askers) asker.join();
  return rows;
}

std::vector<std::string> WrapText(std::string_view text, size_t width) {
  std::vector<std::string> pieces;
  do {
    size_t cut = BytesOf(text, width);
    if (cut < text.size() && text[cut] != ' ') {
      const size_t space = text.rfind(' ', cut);
      if (space != std::string_view::npos && space > 0) cut = space;
    }
    pieces.emplace_back(text.substr(0, cut));
    text.remove_prefix(cut);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  } while (!text.empty());
  return pieces;
}

std::string RenderTable(const std::vector<DemoRow>& rows, size_t width) {
  const size_t task_width = LongestOf(rows, &DemoRow::task, 4);
  const size_t shared = width - std::min(width, task_width + 3 * kGap);
  const size_t question_width = std::min(LongestOf(rows, &DemoRow::question, 8), shared / 3);
  const size_t base_width = std::min(LongestOf(rows, &DemoRow::base_answer, 8), shared / 3);
  const size_t adapter_width = std::max<size_t>(shared - question_width - base_width, 8);

  std::string table;
  const auto add = [&](const DemoRow& row) {
    const auto questions = Cell(row.question, question_width, kMaxLines);
    const auto base = Cell(row.base_answer, base_width, kMaxLines);
    const auto adapter = Cell(row.adapter_answer, adapter_width, 2 * kMaxLines);
    const size_t num_lines = std::max({questions.size(), base.size(), adapter.size()});
    const auto cell = [](const std::vector<std::string>& lines, size_t line, size_t cell_width) {
      return Padded(line < lines.size() ? lines[line] : "", cell_width + kGap);
    };
    for (size_t i = 0; i < num_lines; ++i) {
      std::string line = Padded(i == 0 ? row.task : "", task_width + kGap) +
                         cell(questions, i, question_width) + cell(base, i, base_width) +
                         cell(adapter, i, adapter_width);
      line.erase(line.find_last_not_of(' ') + 1);
      table += line + "\n";
    }
  };
  add({"task", "question", "the base", "the task's adapter"});
  table += std::string(width, '-') + "\n";
  for (const DemoRow& row : rows) add(row);
  return table;
}

std::string NextSteps(const DemoServer& server, const DemoPrompt& prompt, std::string_view binary) {
  const std::string url = fmt::format("http://{}:{}/v1", server.host, server.port);
  const std::string key =
      server.api_key.empty() ? "" : " -H \"Authorization: Bearer $LORRY_API_KEY\"";
  const auto chat = [&](std::string_view flags, std::string_view fields) {
    return fmt::format(
        "  curl {}{}/chat/completions{} --json '{{\"model\": \"{}\"{}, \"messages\": [{{\"role\": "
        "\"user\", "
        "\"content\": \"{}\"}}]}}'\n",
        flags, url, key, prompt.adapter, fields, prompt.question);
  };
  return fmt::format("Go on with:\n  curl {}/models{}\n", url, key) + chat("", "") +
         chat("-N ", ", \"stream\": true") +
         fmt::format("  {} run --adapter {} \"{}\"\n", binary, prompt.adapter, prompt.question);
}

}  // namespace lorry::apps
