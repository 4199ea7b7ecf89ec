#include "proxy/base/slab.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <set>
#include <vector>

namespace sluice {
namespace {

TEST(Slab, GivesEachTakerACacheLineOfItsOwn) {
  Slab slab;
  std::set<void*> cells;
  for (int i = 0; i < 1000; ++i) {
    void* cell = slab.take();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cell) % Slab::kCellBytes, 0U);
    std::memset(cell, i, Slab::kCellBytes);
    EXPECT_TRUE(cells.insert(cell).second);
  }
  EXPECT_EQ(slab.used(), 1000U);
  for (void* cell : cells) {
    slab.give(cell);
  }
  EXPECT_EQ(slab.used(), 0U);
}

TEST(Slab, GivesEmptyChunksBackWhenTheLoadHasPassed) {
  Slab slab;
  std::vector<void*> cells;
  for (int i = 0; i < 10'000; ++i) {
    cells.push_back(slab.take());
  }
  EXPECT_GT(slab.chunks(), 30U);
  for (void* cell : cells) {
    slab.give(cell);
  }
  EXPECT_EQ(slab.chunks(), 1U);
}

TEST(Slab, TakesAgainWhatWasGivenBack) {
  Slab slab;
  std::vector<void*> cells;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 600; ++i) {
      cells.push_back(slab.take());
    }
    for (int i = 0; i < 500; ++i) {  // from within: no chunk becomes empty
      slab.give(cells[cells.size() / 2]);
      cells.erase(cells.begin() + static_cast<std::ptrdiff_t>(cells.size() / 2));
    }
  }
  EXPECT_EQ(slab.used(), 500U);
  EXPECT_LE(slab.chunks(), 6U);
  for (void* cell : cells) {
    slab.give(cell);
  }
}

}  // namespace
}  // namespace sluice
