#include "base/line_writer.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <thread>

namespace lorry {
namespace {

constexpr std::chrono::seconds kLong{60};  // for a busy machine; nothing here takes long
constexpr int kNumLines = 10'000;

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(ends_), 0); }
  ~Pipe() {
    CloseReader();
    CloseWriter();
  }

  int writer() const { return ends_[1]; }
  void CloseReader() { Close(ends_[0]); }
  void CloseWriter() { Close(ends_[1]); }

  // nullopt: no other will come.
  std::optional<std::string> NextLine() {
    std::string line;
    char letter = 0;
    while (read(ends_[0], &letter, 1) == 1) {
      if (letter == '\n') return line;
      line += letter;
    }
    return std::nullopt;
  }

 private:
  static void Close(int& end) {
    if (end >= 0) close(end);
    end = -1;
  }

  int ends_[2] = {-1, -1};
};

LineWriter::Options To(const Pipe& pipe) {
  return {.descriptor = pipe.writer(), .max_waiting_bytes = 64 << 10, .note = [](uint64_t count) {
            return "missing " + std::to_string(count) + "\n";
          }};
}

std::string Numbered(int i) { return std::to_string(i) + " " + std::string(100, 'x') + "\n"; }

TEST(LineWriterTest, AReaderThatDoesNotReadHoldsNobody) {
  Pipe pipe;
  {
    LineWriter writer(To(pipe));
    for (int i = 0; i < kNumLines; ++i) writer.Write(Numbered(i));  // returns
    EXPECT_FALSE(writer.Flush(std::chrono::milliseconds(1)));
    const uint64_t num_dropped = writer.num_dropped();
    EXPECT_GT(num_dropped, 0u);

    // Whoever reads at last finds the lines in their order, and a note of the right number in
    // each place where some are missing.
    std::thread reader([&] {
      int expected = 0;
      while (expected < kNumLines) {
        const std::optional<std::string> line = pipe.NextLine();
        ASSERT_TRUE(line);
        if (line->starts_with("missing ")) {
          expected += std::stoi(line->substr(8));
        } else {
          ASSERT_EQ(std::stoi(*line), expected++);
        }
      }
      EXPECT_EQ(expected, kNumLines);
    });
    reader.join();
    if (testing::Test::HasFailure()) pipe.CloseReader();  // who writes would wait without end
    EXPECT_TRUE(writer.Flush(kLong));
    EXPECT_EQ(writer.num_dropped(), num_dropped);
    writer.Write("it flows again\n");
  }
  EXPECT_EQ(pipe.NextLine(), "it flows again");
}

TEST(LineWriterTest, LinesOfSeveralThreadsStayWholeAndInTheirOrder) {
  Pipe pipe;
  LineWriter writer(To(pipe));
  const std::string tail(5000, 'y');  // longer than what a pipe takes in one piece
  const auto write = [&](const char* name) {
    for (int i = 0; i < 5; ++i) writer.Write(name + std::to_string(i) + tail + "\n");
  };
  std::thread a(write, "a"), b(write, "b");
  int num_a = 0, num_b = 0;
  for (int i = 0; i < 10; ++i) {
    const std::string line = pipe.NextLine().value_or("");
    int& number = line[0] == 'a' ? num_a : num_b;
    EXPECT_EQ(line.substr(1), std::to_string(number++) + tail);
  }
  a.join();
  b.join();
  EXPECT_EQ(num_a, 5);
}

TEST(LineWriterTest, AReaderThatHasGoneIsNoSignal) {
  Pipe pipe;
  pipe.CloseReader();
  LineWriter writer(To(pipe));
  writer.Write("one\n");
  writer.Write("two\n");
  EXPECT_TRUE(writer.Flush(kLong));
  EXPECT_EQ(writer.num_dropped(), 2u);
}

TEST(LineWriterTest, AForkedChildWritesAtOnce) {
  Pipe pipe;
  LineWriter writer(To(pipe));
  const pid_t child = fork();
  if (child == 0) {
    writer.Write("from the child\n");
    _exit(writer.Flush(std::chrono::milliseconds(0)) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(pipe.NextLine(), "from the child");
}

}  // namespace
}  // namespace lorry
