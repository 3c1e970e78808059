// The maps in memory keep the suite of test/lib/map-suite.ts.

import { memoryMaps } from '../control/kernel/maps.ts';
import { mapSuite, SUITE_SIZES } from './lib/map-suite.ts';

mapSuite('in memory', () => ({ maps: memoryMaps(SUITE_SIZES), close: () => undefined }));
