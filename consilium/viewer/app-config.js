/* Our configuration of @ohif/app 3.13; consilium/viewer/mount.py fills in the paths.
   The inline extension below shows the newest SEG and SR over the image as soon as the study opens. */
window.PUBLIC_URL = '__PREFIX__/';                       // was an inline script in index.html; here it needs no CSP hash
window.browserImportFunction = module => import(module);
(() => {
  const autoOverlay = {
    id: 'consilium.auto-overlay',
    onModeEnter({ servicesManager, commandsManager }) {
      const { cornerstoneViewportService, displaySetService, viewportGridService } = servicesManager.services;
      if (new URLSearchParams(location.search).get('overlay') === 'off') return;
      const done = new Set();
      // The viewer draws no fractional SEG: the binary one of the same reading is drawn instead.
      const fractional = d => (d.instance ?? d.instances?.[0])?.SegmentationType === 'FRACTIONAL';
      const newest = modality => displaySetService.getActiveDisplaySets()
        .filter(d => d.Modality === modality && !d.unsupported && !fractional(d))
        .sort((a, b) => Number(b.SeriesNumber || 0) - Number(a.SeriesNumber || 0))[0];
      const apply = async () => {
        const viewportId = viewportGridService.getActiveViewportId();
        for (const modality of ['SR', 'SEG']) {
          const displaySet = newest(modality);
          if (!displaySet || done.has(displaySet.displaySetInstanceUID)) continue;
          done.add(displaySet.displaySetInstanceUID);
          try {
            if (modality === 'SEG') {
              commandsManager.runCommand('addDisplaySetAsLayer', { viewportId, displaySetInstanceUID: displaySet.displaySetInstanceUID });
            } else {
              await displaySet.load?.();
              if (displaySet.isRehydratable) await commandsManager.runCommand('hydrateSecondaryDisplaySet', { displaySet, viewportId });
            }
          } catch (error) {
            console.warn('overlay not shown', modality, String(error));
          }
        }
      };
      let timer;
      const later = () => { clearTimeout(timer); timer = setTimeout(apply, 300); };
      cornerstoneViewportService.subscribe(cornerstoneViewportService.EVENTS.VIEWPORT_DATA_CHANGED, later);
    },
  };
  window.config = {
    name: 'consilium',
    routerBasename: '__PREFIX__',
    extensions: [autoOverlay],   // added to the set that the published build bundles
    modes: [],
    customizationService: [{
      'ohif.tours': { $set: [] },                              // no first-visit tour over the image
      'panelSegmentation.disableEditing': { $set: true },      // AI output is shown, not edited
      'panelMeasurement.disableEditing': { $set: true },
    }],
    disableConfirmationPrompts: true,
    measurementTrackingMode: 'none',
    investigationalUseDialog: { option: 'never' },
    showStudyList: true,
    maxNumberOfWebWorkers: 2,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: false,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    maxNumRequests: { interaction: 20, thumbnail: 5, prefetch: 10 },
    defaultDataSourceName: 'dicomweb',
    dataSources: [{
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'dicomweb',
      configuration: {
        friendlyName: 'Consilium',
        name: 'consilium',
        qidoRoot: '__DICOMWEB__',
        wadoRoot: '__DICOMWEB__',
        wadoUriRoot: '__DICOMWEB__',
        qidoSupportsIncludeField: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        dicomUploadEnabled: false,
        omitQuotationForMultipartRequest: true,
        singlepart: 'bulkdata,video,pdf',
        bulkDataURI: { enabled: true, relativeResolution: 'studies' },
      },
    }],
    httpErrorHandler: error => console.warn('DICOMweb status', error && error.status),
  };
})();
