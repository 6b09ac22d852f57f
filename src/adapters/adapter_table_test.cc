#include "adapters/adapter_table.h"

#include <gtest/gtest.h>

namespace lorry::adapters {
namespace {

std::shared_ptr<const AdapterImage> Image(uint8_t first_byte) {
  auto image = std::make_shared<AdapterImage>(AdapterImage{.weights = model::AdapterWeights(2)});
  image->id.bytes[0] = first_byte;
  image->buffer = *Buffer::Allocate(4096);
  return image;
}

TEST(AdapterTableTest, FindsByIdentity) {
  AdapterTable table;
  const auto image = Image(1);
  ASSERT_TRUE(table.Add("sql", "./sql", image));
  EXPECT_EQ(table.Find(image->id), &image->weights);
  EXPECT_EQ(table.Find(Image(2)->id), nullptr);
  EXPECT_EQ(table.Find(AdapterId{}), nullptr);
}

TEST(AdapterTableTest, ANameIsTakenOnce) {
  AdapterTable table;
  ASSERT_TRUE(table.Add("sql", "./a", Image(1)));
  const auto again = table.Add("sql", "./b", Image(2));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  EXPECT_EQ(table.aliases().size(), 1u);
}

TEST(AdapterTableTest, EqualContentIsSharedUnderTwoNames) {
  AdapterTable table;
  ASSERT_TRUE(table.Add("a", "./a", Image(1)));
  ASSERT_TRUE(table.Add("b", "./b", Image(1)));
  EXPECT_EQ(table.aliases()[0].image, table.aliases()[1].image);
  EXPECT_EQ(table.resident_bytes(), 4096u);
}

}  // namespace
}  // namespace lorry::adapters
