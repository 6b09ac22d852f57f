#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "pages/page_pool.h"
#include "pages/sequence_pages.h"

namespace lorry {
namespace {

PagePool MakePool(int num_pages) {
  auto pool = PagePool::Create(4096, num_pages);
  EXPECT_TRUE(pool.has_value());
  return std::move(*pool);
}

TEST(PagePool, HandsOutEachPageOnce) {
  PagePool pool = MakePool(5);
  std::set<int> seen;
  for (int i = 0; i < 5; ++i) seen.insert(pool.Acquire()->value);
  EXPECT_EQ(seen, (std::set<int>{0, 1, 2, 3, 4}));
  EXPECT_FALSE(pool.Acquire().has_value());
  EXPECT_EQ(pool.num_free(), 0);
  pool.CheckInvariants();
}

TEST(PagePool, FreesWithTheLastReference) {
  PagePool pool = MakePool(2);
  const PageId page = *pool.Acquire();
  pool.Share(page);
  pool.Release(page);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.num_references(page), 1);
  pool.Release(page);
  EXPECT_EQ(pool.num_free(), 2);
  pool.CheckInvariants();
}

TEST(PagePool, RefusesMemoryThatIsNotThere) {
  const auto pool = PagePool::Create(size_t{1} << 40, 1 << 20);  // 2^60 bytes
  ASSERT_FALSE(pool.has_value());
  EXPECT_EQ(pool.error().code, ErrorCode::kResourceExhausted);
}

TEST(PagePoolDeathTest, ReleasingAFreePageIsABug) {
  PagePool pool = MakePool(1);
  const PageId page = *pool.Acquire();
  pool.Release(page);
  EXPECT_DEATH(pool.Release(page), "references_");
  EXPECT_DEATH(pool.Share(page), "references_");
}

// Random acquire, share and release against a map of counts.
TEST(PagePool, AgreesWithAModel) {
  std::mt19937 random(1);
  PagePool pool = MakePool(37);
  std::map<int, int> model;
  for (int i = 0; i < 20000; ++i) {
    const int what = random() % 3;
    if (what == 0) {
      const auto page = pool.Acquire();
      ASSERT_EQ(page.has_value(), model.size() < 37);
      if (page) {
        ASSERT_EQ(model.count(page->value), 0u);
        model[page->value] = 1;
      }
    } else if (!model.empty()) {
      auto entry = std::next(model.begin(), random() % model.size());
      if (what == 1) {
        pool.Share(PageId{entry->first});
        ++entry->second;
      } else {
        pool.Release(PageId{entry->first});
        if (--entry->second == 0) model.erase(entry);
      }
    }
    ASSERT_EQ(pool.num_free(), 37 - static_cast<int>(model.size()));
    for (const auto& [page, count] : model) ASSERT_EQ(pool.num_references(PageId{page}), count);
    pool.CheckInvariants();
  }
}

TEST(SequencePages, GrowsByWholePages) {
  PagePool pool = MakePool(4);
  SequencePages pages(&pool, 16, 64);
  EXPECT_TRUE(pages.Grow(1));
  EXPECT_EQ(pages.num_pages(), 1);
  EXPECT_TRUE(pages.Grow(16));
  EXPECT_EQ(pages.num_pages(), 1);
  EXPECT_TRUE(pages.Grow(17));
  EXPECT_EQ(pages.num_pages(), 2);
  EXPECT_TRUE(pages.Grow(3));  // never shrinks
  EXPECT_EQ(pages.num_pages(), 2);
}

TEST(SequencePages, ShortPoolChangesNothing) {
  PagePool pool = MakePool(3);
  SequencePages a(&pool, 16, 64);
  SequencePages b(&pool, 16, 64);
  ASSERT_TRUE(a.Grow(32));
  EXPECT_FALSE(b.Grow(17));
  EXPECT_EQ(b.num_pages(), 0);
  EXPECT_EQ(pool.num_free(), 1);
  a.Release();
  EXPECT_TRUE(b.Grow(17));
}

// Sequences that grow, move and end at random never share a page and give all of them back.
TEST(SequencePages, RandomLives) {
  constexpr int kPageTokens = 16;
  std::mt19937 random(2);
  PagePool pool = MakePool(50);
  {
    std::vector<SequencePages> live;
    for (int i = 0; i < 10000; ++i) {
      const unsigned what = random() % 8;
      if (what == 0 || live.empty()) {
        live.emplace_back(&pool, kPageTokens, 400);
      } else if (what == 1) {
        std::vector<SequencePages> rest;
        const size_t victim = random() % live.size();
        for (size_t j = 0; j < live.size(); ++j) {
          if (j != victim) rest.push_back(std::move(live[j]));
        }
        live.swap(rest);
      } else {
        SequencePages& pages = live[random() % live.size()];
        const int tokens = 1 + random() % 400;
        const int before = pages.num_pages();
        const int more = std::max(0, PagesForTokens(tokens, kPageTokens) - before);
        const bool fits = more <= pool.num_free();
        ASSERT_EQ(pages.Grow(tokens), fits);
        ASSERT_EQ(pages.num_pages(), fits ? before + more : before);
      }
      std::set<int> used;
      for (const SequencePages& pages : live) {
        for (int page : pages.table()) ASSERT_TRUE(used.insert(page).second);
      }
      ASSERT_EQ(pool.num_free(), 50 - static_cast<int>(used.size()));
      pool.CheckInvariants();
    }
  }
  EXPECT_EQ(pool.num_free(), 50);
}

}  // namespace
}  // namespace lorry
